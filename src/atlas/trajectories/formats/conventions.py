"""Conventions of rows: the action in a ReAct turn, the canned acknowledgement, the task and the outcome that a row names."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from atlas.records import Outcome, Task
from atlas.trajectories.formats.rows import BadRowError

UNKNOWN_ENVIRONMENT = "unknown"
ITEM_KEYS = ("item_id", "task_id")  # name a task, its environment first: babyai_0
OTHER_ID_KEYS = ("instance_id", "id")  # name a task or just the row
ID_KEYS = (*ITEM_KEYS, *OTHER_ID_KEYS)
_ACTION = re.compile(r"Action:[^\S\n]*\n*[^\S\n]*([^\n]*)")
_NUMBERED_ITEM = re.compile(r"([A-Za-z][A-Za-z0-9]*(?:_[A-Za-z][A-Za-z0-9]*)*)_\d+")
_ALFWORLD_GAME = re.compile(r".*_trial_T\d{8}_\d+_\d+")
_ACKNOWLEDGEMENT = re.compile(
    r"(ok|okay|understood|sure)[.!]?( i('ll| will) follow your instructions and try my best to solve (the|this) task\.?)?"
    r"|i('ve| have) understood your instructions?, start please\.?",
    re.IGNORECASE,
)


def parse_action(response: str) -> str | None:
    """What AgentGym executes of a ReAct turn: the first line after its last "Action:"; None where there is none.

    >>> parse_action("Thought:\\nThe door is locked.\\n\\nAction:\\nopen door 1\\nopen door 2")
    'open door 1'
    """
    start = response.find("Action:")
    return (_ACTION.findall(response, start)[-1].strip() or None) if start >= 0 else None


def is_acknowledgement(text: str) -> bool:
    """Whether an assistant's first turn is the canned "OK." to the instructions, which nobody decided to say."""
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
    """The task that a row names by an item's id, or by another (which says nothing about the environment), or the id `otherwise`.

    Raises:
        BadRowError: an item's id is neither a text nor a whole number.
    """
    environment = next(
        (
            row[key]
            for key in ("environment", "task_name")
            if isinstance(row.get(key), str) and row[key]
        ),
        None,
    )
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
    """`success` decides; a reward alone does not (some environments score 0 to 100, some never reach 1).

    Raises:
        BadRowError: `reward` is no number, or `success` not true or false.
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
    """The plain fields of a row that have no place of their own in a trajectory."""
    return {
        key: value
        for key, value in row.items()
        if key not in used and (isinstance(value, bool | str) or is_number(value))
    }


def is_simulation(row: Any) -> bool:
    """Whether a row is one simulation of tau2-bench, whose messages look like OpenAI's but are not all the agent's."""
    return (
        isinstance(row, dict)
        and {"task_id", "messages", "termination_reason", "reward_info"} <= row.keys()
    )


def is_mini_swe_agent(row: Any) -> bool:
    """Whether a row is a run of mini-SWE-agent, whose messages are OpenAI's but end with a word of its own."""
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        return False
    written, info = row.get("trajectory_format"), row.get("info")
    return (isinstance(written, str) and written.startswith("mini-swe-agent")) or (
        isinstance(info, dict) and "mini_version" in info
    )


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that every reader of JSON reads alike."""
    return not isinstance(value, bool) and (
        (isinstance(value, int) and abs(value) < 2**53)
        or (isinstance(value, float) and math.isfinite(value))
    )


def is_id(value: Any) -> bool:
    """Whether a value can name something: a text or a whole number."""
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
