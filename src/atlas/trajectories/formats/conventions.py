"""Conventions of rows: the canned acknowledgement, the task and the outcome."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from atlas.records import Outcome, OutcomeStatus, Task
from atlas.trajectories.formats.calls import decode_nested
from atlas.trajectories.formats.rows import BadRowError

# Begins the line of a user's own tool call, which the agent sees as text.
USERS_CALL = "[tool call]"
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


class OutcomeRule(NamedTuple):
    """A field that decides success: 1 or true is success, 0 or false is failure.

    Attributes:
        path: the keys down to the field.
        beside: keys without which the field may mean something else.
        meaning: what the source says of the field, in words.
        is_score: whether the field is a reward too, of which only 0 and 1 decide.
    """

    path: tuple[str, ...]
    beside: tuple[str, ...]
    meaning: str
    is_score: bool = False


# Texts as tables and scripts write them: a boolean, or that a value is missing.
TRUTH = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
BLANK = frozenset(("", "null", "none", "nan", "n/a", "<na>"))
# Beside these keys, an evaluation is that of an issue.
_OF_ISSUE = ("instance_id",)
_TESTS_PASS = "whether the tests of the issue pass"
_SUCCEEDED = "whether the task succeeded"
# What stands for the id of the row in a path.
OWN_ID = "<instance_id>"
# Rules are tried in this order. All that apply to a row must agree.
OUTCOME_RULES = (
    *(OutcomeRule((key,), (), _SUCCEEDED) for key in ("success", "is_success", "is_correct")),
    # SWE-smith, SWE-Gym, SWE-rebench and their relatives.
    OutcomeRule(("resolved",), _OF_ISSUE, _TESTS_PASS),
    # SWE-agent runs of nebius.
    OutcomeRule(("target",), ("instance_id", "exit_status"), _TESTS_PASS),
    # mini-coder.
    OutcomeRule(("verified",), ("instance_id", "patch"), _TESTS_PASS),
    # OpenHands after evaluation.
    OutcomeRule(("report", "resolved"), _OF_ISSUE, _TESTS_PASS),
    OutcomeRule(("test_result", "report", "resolved"), _OF_ISSUE, _TESTS_PASS),
    OutcomeRule(("test_result", "result"), ("history",), "whether the evaluation is passed"),
    # Reports of SWE-bench, which have the id as their key.
    OutcomeRule(("report", OWN_ID, "resolved"), _OF_ISSUE, _TESTS_PASS),
    OutcomeRule(("test_result", "report", OWN_ID, "resolved"), _OF_ISSUE, _TESTS_PASS),
    # The same fields where a script put them beside others about the run.
    *(OutcomeRule((key, "success"), (), _SUCCEEDED) for key in ("info", "metadata")),
    *(
        OutcomeRule((key, "resolved"), _OF_ISSUE, _TESTS_PASS)
        for key in ("info", "metadata", "test_result")
    ),
    # Terminal-Bench.
    OutcomeRule(("is_resolved",), (), "whether the tests of the task pass"),
    # Runs that agentpile loaded from a data set.
    OutcomeRule(
        ("extra", "agentpile", "outcome", "success"),
        (),
        "whether the data set counts the run as a success",
    ),
    # Harbor's result of a trial.
    OutcomeRule(
        ("verifier_result", "rewards", "reward"),
        (),
        "whether the verifier of the task is satisfied",
        is_score=True,
    ),
)
# Fields that decide, as paths within a row.
DECIDING_PATHS = frozenset(".".join(rule.path) for rule in OUTCOME_RULES)
DECIDED = BLANK | TRUTH.keys()


def outcome_of_row(row: Mapping[str, Any]) -> Outcome:
    """The outcome by the rules of `OUTCOME_RULES`.

    A `reward` does not decide: some environments score 0 to 100, some never reach 1. But one that
    contradicts makes the outcome unknown.

    Raises:
        BadRowError: `reward` is not a number, or a deciding field neither true nor false.
    """
    given = row.get("reward")
    # Several rewards are not one score.
    score = None if isinstance(given, Mapping | list) else read_reward(given)
    status: OutcomeStatus | None = None
    reason = "the row does not say whether it succeeded"
    for rule in OUTCOME_RULES:
        value = _decision(row, rule)
        if rule.is_score and is_number(value) and score is None:
            score = float(value or 0)
        if value not in (0, 1):
            continue
        decided: OutcomeStatus = "success" if value else "failure"
        says = f"{'.'.join(rule.path)} is {str(value).lower()}"
        if status is None:
            status, reason = decided, f"{says}, which says {rule.meaning}"
        elif status != decided:
            return Outcome(status="unknown", score=score, reason=f"{reason}; but {says}")
    # A success may have a negative reward, for example a cost of each step.
    contradicts = score is not None and (score == 0 if status == "success" else score > 0)
    if status and contradicts:
        return Outcome(status="unknown", score=score, reason=f"{reason}; but the reward is {score}")
    return Outcome(status=status or "unknown", score=score, reason=reason)


def _decision(row: Mapping[str, Any], rule: OutcomeRule) -> Any:
    """The value of a rule's field, None where the rule does not apply."""
    given = _value_at(row, rule.path)
    if given is None or not all(key in row for key in rule.beside):
        return None
    if (rule.beside or len(rule.path) > 1) and isinstance(given, Mapping | list):
        # Something else under the same name.
        return None
    if rule.is_score:
        return read_reward(given, ".".join(rule.path))
    return read_truth(given, ".".join(rule.path))


def _value_at(row: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value at a path; tables hold objects as JSON texts."""
    value: Any = row
    for key in path:
        value = decode_nested(value)
        if not isinstance(value, Mapping):
            return None
        value = value.get(str(row.get("instance_id")) if key == OWN_ID else key)
    return value


def read_truth(given: Any, name: str) -> Any:
    """True, false, 1 or 0 as it was given or as a text says it; None where a value is missing.

    Raises:
        BadRowError: it is something else.
    """
    value = _without_blank(given)
    if isinstance(value, str):
        value = TRUTH.get(value.strip().lower(), value)
    if value is None or value in (0, 1):
        return value
    raise BadRowError(f"{name} is {given!r:.60}, expected true or false")


def read_reward(given: Any, name: str = "reward") -> float | None:
    """A reward, also as a text or a boolean; None where a value is missing.

    Raises:
        BadRowError: it is something else.
    """
    value = _without_blank(given)
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if value is None:
        return None
    if type(value) is bool or is_number(value):
        return float(value)
    raise BadRowError(f"{name} is {given!r:.60}, expected a number")


def _without_blank(value: Any) -> Any:
    """None for what stands where a table lacks a value; anything else as it is."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if isinstance(value, str) and value.strip().lower() in BLANK else value


def outcome_of_reward(
    reward: float | None, threshold: float, *, is_truncated: bool, ending: str | None
) -> Outcome:
    """The outcome of a rollout that counts as correct from a reward on, as in pass@k.

    A rollout that was cut short may have reached it. Otherwise, it is truncated.
    """
    if reward is None:
        status: OutcomeStatus = "truncated" if is_truncated else "unknown"
        cut = f"cut short ({ending or 'by length'}), " if is_truncated else ""
        return Outcome(status=status, reason=f"{cut}no reward is recorded")
    rule = f"a reward of {threshold:g} or more counts as correct"
    if reward >= threshold:
        cut = f", cut short ({ending or 'by length'})" if is_truncated else ""
        return Outcome(status="success", score=float(reward), reason=rule + cut)
    if is_truncated:
        reason = f"cut short ({ending or 'by length'}), {rule}"
        return Outcome(status="truncated", score=float(reward), reason=reason)
    return Outcome(status="failure", score=float(reward), reason=rule)


def details_of_row(row: Mapping[str, Any], used: Collection[str]) -> dict[str, Any]:
    """The plain fields of a row that have no place in a trajectory."""
    return {
        key: value
        for key, value in row.items()
        if key not in used and (type(value) in (bool, str) or is_number(value))
    }


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that every reader of JSON reads alike."""
    if type(value) is float:
        return math.isfinite(value)
    return type(value) is int and abs(value) < 2**53


def is_id(value: Any) -> bool:
    """Whether a value can name something: a text or a whole number."""
    return type(value) in (str, int) and value != ""
