"""Conventions of rows: the canned acknowledgement, the task and the outcome."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from atlas.records import Outcome, Task
from atlas.trajectories.formats.rows import BadRowError

UNKNOWN_ENVIRONMENT = "unknown"
# They name a task, its environment first: babyai_0.
ITEM_KEYS = ("item_id", "task_id")
# They name a task or just the row.
OTHER_ID_KEYS = ("instance_id", "id")
ID_KEYS = (*ITEM_KEYS, *OTHER_ID_KEYS)
# The columns of the dialect `parquet` that have an entry per message.
SELECTION_COLUMNS = ("step", "critical", "kinds", "scores")
_NUMBERED_ITEM = re.compile(r"([A-Za-z][A-Za-z0-9]*(?:_[A-Za-z][A-Za-z0-9]*)*)_\d+")
_ALFWORLD_GAME = re.compile(r".*_trial_T\d{8}_\d+_\d+")
_ACKNOWLEDGEMENT = re.compile(
    r"(ok|okay|understood|sure)[.!]?"
    r"( i('ll| will) follow your instructions and try my best to solve (the|this) task\.?)?"
    r"|i('ve| have) understood your instructions?, start please\.?",
    re.IGNORECASE,
)


def is_acknowledgement(text: str) -> bool:
    """Whether an assistant's first turn is the canned "OK." to the instructions."""
    return _ACKNOWLEDGEMENT.fullmatch(text.strip()) is not None


def environment_of_item(item_id: str) -> str:
    """The environment that AgentGym's item ids begin with.

    >>> environment_of_item("lmrlgym_maze_18")
    'lmrlgym_maze'
    """
    if match := _NUMBERED_ITEM.fullmatch(item_id):
        return match[1]
    return "alfworld" if _ALFWORLD_GAME.fullmatch(item_id) else UNKNOWN_ENVIRONMENT


def task_of_row(
    row: Mapping[str, Any], otherwise: str, item_keys: Sequence[str] = ITEM_KEYS
) -> Task:
    """The task that a row names.

    An item's id names the environment too; another id, or `otherwise`, names only the task.

    Raises:
        BadRowError: an item's id is neither a text nor a whole number.
    """
    environment = None
    for key in ("task_name", "environment"):
        if isinstance(row.get(key), str):
            environment = row[key] or environment
    for key in item_keys:
        given = row.get(key)
        if given is None:
            continue
        if not is_id(given):
            raise BadRowError(f"{key} is {given!r:.60}, expected a text or a whole number")
        return Task(id=str(given), environment=environment or environment_of_item(str(given)))
    id_ = next((str(row[key]) for key in OTHER_ID_KEYS if is_id(row.get(key))), otherwise)
    return Task(id=id_, environment=environment or UNKNOWN_ENVIRONMENT)


def outcome_of_row(row: Mapping[str, Any]) -> Outcome:
    """`success` decides, a reward does not: some environments score 0 to 100, some never reach 1.

    Raises:
        BadRowError: `reward` is not a number, or `success` neither true nor false.
    """
    reward, success = row.get("reward"), row.get("success")
    if reward is not None and not is_number(reward):
        raise BadRowError(f"reward is {reward!r:.60}, expected a number")
    if success is not None and success not in (0, 1):
        raise BadRowError(f"success is {success!r:.60}, expected true or false")
    score = None if reward is None else float(reward)
    if success is None:
        return Outcome(
            status="unknown", score=score, reason="the row does not say whether it succeeded"
        )
    if not success and score is not None and score > 0:
        return Outcome(
            status="unknown", score=score, reason=f"the row says success false and reward {reward}"
        )
    return Outcome(status="success" if success else "failure", score=score)


def details_of_row(row: Mapping[str, Any], used: Collection[str]) -> dict[str, Any]:
    """The plain fields of a row that have no place in a trajectory."""
    return {
        key: value
        for key, value in row.items()
        if key not in used and (type(value) in (bool, str) or is_number(value))
    }


def is_simulation(row: Any) -> bool:
    """Whether a row is one simulation of tau2-bench, which looks like a chat in OpenAI's form."""
    return (
        isinstance(row, dict)
        and {"task_id", "messages", "termination_reason", "reward_info"} <= row.keys()
    )


def is_mini_swe_agent(row: Any) -> bool:
    """Whether a row is a run of mini-SWE-agent, which looks like a chat in OpenAI's form."""
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        return False
    written, info = row.get("trajectory_format"), row.get("info")
    return (isinstance(written, str) and written.startswith("mini-swe-agent")) or (
        isinstance(info, dict) and "mini_version" in info
    )


def is_selection_row(row: Any) -> bool:
    """Whether a row is one of the dialect `parquet`, which looks like a chat in OpenAI's form."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("messages"), list)
        and all(isinstance(row.get(name), list) for name in SELECTION_COLUMNS)
    )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that every reader of JSON reads alike."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and abs(value) < 2**53


def is_id(value: Any) -> bool:
    """Whether a value can name something: a text or a whole number."""
    return type(value) in (str, int) and value != ""
