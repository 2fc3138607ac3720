"""Tables, JSON Lines or CSV, with a row for each episode: task, arm, seed, success.

    task,arm,seed,success
    maze-1,base,0,true

Other columns: score, repetition, split, environment, group, status and reason. A file may hold
several arms; each is given with `--results ARM=FILE`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from atlas.errors import DataError
from atlas.reporting.results.base import ResultFormatBase
from atlas.reporting.results.result_file import ResultFile
from atlas.reporting.results.samples import (
    ResultLog,
    Sample,
    ScoreValue,
    read_id,
    read_score,
    reason_of,
    whole_number,
)

VERDICTS = ("success", "score", "status")
TRUE, FALSE = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")
UNKNOWN = ("", "nan", "none", "null")
# A cell without a value.
NOTHING = (None, "")
STATUSES = {"success": True, "failure": False, "truncated": False}
BROKEN = ("error", "unknown")
DEFAULT_SPLIT = "results"
# Of a number of a repetition.
MAX_DIGITS = 16


class TableResults(ResultFormatBase):
    """Reads a table with a row for each episode, as JSON Lines or CSV."""

    def matches(self, file: ResultFile) -> bool:
        columns = set(file.columns or file.first)
        is_of_another = not {"traj", "completion", "nodes", "simulations"}.isdisjoint(columns)
        return "task" in columns and not columns.isdisjoint(VERDICTS) and not is_of_another

    def read(self, file: ResultFile) -> ResultLog:
        if len(set(file.columns)) < len(file.columns):
            twice = next(name for name in file.columns if file.columns.count(name) > 1)
            raise DataError(f"{file.name}: two columns are called {twice!r:.60}, expected one.")
        _, first = next(iter(file.rows()), ("", None))
        names_arms = isinstance(first, Mapping) and first.get("arm") not in NOTHING
        part = file.arm if names_arms else ""
        return ResultLog(
            samples=_samples(file, names_arms), id=f"{file.path.resolve()}#{part}", part=part
        )


def _samples(file: ResultFile, names_arms: bool) -> Iterator[Sample]:
    """The rows of the arm that the file was given for; all rows, if they name no arm.

    Args:
        names_arms: whether the first row names an arm, and so all have to.
    """
    others: set[str] = set()
    num_yielded = 0
    for where, row in file.rows():
        if not isinstance(row, dict):
            raise DataError(f"{where}: {row!r:.60}, expected an object with 'task' and 'success'.")
        arm = row.get("arm")
        if (arm not in NOTHING) != names_arms:
            does, first = ("names no arm", "does") if names_arms else ("names an arm", "does not")
            raise DataError(
                f"{where} {does}, and the first row {first}, expected all rows or none. Name the "
                "arm in each row, or leave the column out."
            )
        if names_arms and (named := read_id(arm, where, "arm")) != file.arm:
            others.add(named)
            continue
        num_yielded += 1
        yield _sample(row, where)
    if not num_yielded and others:
        known = ", ".join(f"'{name:.40}'" for name in sorted(others)[:8])
        raise DataError(
            f"{file.name} has no row of the arm '{file.arm}'; its arms are {known}. "
            "Give the file for one of them."
        )


def _sample(row: Mapping[str, Any], where: str) -> Sample:
    if "task" not in row or not set(row).intersection(VERDICTS):
        raise DataError(f"{where}: expected 'task' and one of {', '.join(VERDICTS)}.")
    is_success, error, limit = _verdict(row, where)
    environment, task = _name(row, "environment", where), read_id(row["task"], where)
    return Sample(
        benchmark=_name(row, "split", where) or DEFAULT_SPLIT,
        task=f"{environment}/{task}" if environment else task,
        scores=_scores(row, where),
        is_success=is_success,
        error=error,
        limit=limit,
        repetition=_repetition(row, where),
        seed=_name(row, "seed", where) or None,
        environment=environment,
        group=_name(row, "group", where),
    )


def _verdict(row: Mapping[str, Any], where: str) -> tuple[bool | None, str | None, str | None]:
    """Whether the episode succeeded, why it broke, and the limit that ended it."""
    status, said = row.get("status"), row.get("reason")
    is_success = _truth(row.get("success"), where)
    reason = reason_of(said) if isinstance(said, str) and said.strip() else None
    if status in NOTHING:
        if is_success is None and ("success" in row or "score" not in row):
            return None, reason or "no success is given", None
        return is_success, None, None
    if status in BROKEN:
        return None, reason or f"the status is '{status}'", None
    if not isinstance(status, str) or status not in STATUSES:
        known = ", ".join((*STATUSES, *BROKEN))
        raise DataError(f"{where}: status is {status!r:.60}, expected one of {known}.")
    if is_success not in (None, STATUSES[status]):
        raise DataError(f"{where}: success is {is_success}, but the status is '{status}'.")
    return STATUSES[status], None, (reason or "a limit") if status == "truncated" else None


def _truth(value: Any, where: str) -> bool | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip().lower()
    if text in UNKNOWN:
        return None
    if text in (*TRUE, *FALSE):
        return text in TRUE
    raise DataError(
        f"{where}: success is {value!r:.60}, expected true or false, or 1 or 0. A share is a "
        "score: call the column 'score'."
    )


def _scores(row: Mapping[str, Any], where: str) -> dict[str, ScoreValue]:
    """The score, if there is one."""
    value = row.get("score")
    if value is None or (isinstance(value, str) and value.strip().lower() in UNKNOWN):
        return {}
    try:
        score = float(value) if isinstance(value, str) else read_score(value)
    except ValueError:
        score = ""
    if isinstance(score, str):
        raise DataError(
            f"{where}: score is {value!r:.60}, expected a number such as 0.5, or nothing."
        )
    return {"score": score}


def _repetition(row: Mapping[str, Any], where: str) -> int:
    """The number of the attempt; without one, a task that comes twice is refused."""
    value = row.get("repetition")
    if value in NOTHING:
        return 1
    is_number = isinstance(value, str) and value.isdecimal() and len(value) < MAX_DIGITS
    number = whole_number(int(value) if is_number else value)
    if number is None:
        raise DataError(f"{where}: repetition is {value!r:.60}, expected a whole number.")
    return number


def _name(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    return "" if value in NOTHING else read_id(value, where, key)
