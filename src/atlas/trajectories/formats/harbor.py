"""Harbor's folders of jobs: `trajectory file -> what the trial beside it says`.

A trial has `result.json` beside the folder `agent`, in which the trajectory stands. Its reward says
whether the verifier of the task is satisfied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.records import Outcome
from atlas.trajectories.formats.conventions import outcome_of_row
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.rows import BadRowError

RESULT_FILE = "result.json"
MAX_RESULT_BYTES = 64 << 20
# The trajectory of a trial and its continuations, but not those of its summarizations.
_OF_TRIAL = re.compile(r"trajectory(\.cont-\d+)?\.json")


def is_harbor_record(row: Any) -> bool:
    """Whether a row is what Harbor keeps beside trajectories: a result or a configuration."""
    if not isinstance(row, dict):
        return False
    keys = row.keys()
    return (
        {"trial_name", "task_name"} <= keys
        or {"trial_name", "trials_dir"} <= keys
        or {"n_total_trials", "stats"} <= keys
        or {"job_name", "jobs_dir"} <= keys
    ) and keys.isdisjoint(("messages", "steps", "trajectory", "conversations"))


def result_of_trial(path: Path) -> Mapping[str, Any] | None:
    """The result of the trial to which a trajectory file belongs, None where there is none."""
    if not _OF_TRIAL.fullmatch(path.name):
        return None
    result = _json_of(path.resolve().parent.parent / RESULT_FILE)
    return result if is_harbor_record(result) and "task_name" in result else None


def document_beside(path: Path, name: str) -> Mapping[str, Any] | None:
    """The document of that name in the folder of a trajectory, None where there is none."""
    if Path(name).name != name:
        return None
    found = _json_of(path.parent / name)
    return found if isinstance(found, dict) else None


def outcome_of_trial(result: Mapping[str, Any]) -> Outcome:
    """The reward of a trial; else the exception with which it ended.

    Raises:
        BadRowError: the reward is not a number.
    """
    try:
        outcome = outcome_of_row(result)
    except BadRowError as error:
        raise BadRowError(f"{RESULT_FILE} of the trial: {error}") from None
    raised = object_or_empty(result.get("exception_info"))
    kind = text_or_none(raised.get("exception_type"))
    if outcome.status != "unknown" or kind is None:
        return outcome
    status = "truncated" if "timeout" in kind.lower() else "error"
    said = text_or_none(raised.get("exception_message"))
    reason = f"{kind}: {said}" if said else kind
    return outcome.model_copy(update={"status": status, "reason": reason})


def _json_of(file: Path) -> Any:
    """The value in a small JSON file, None where there is none."""
    try:
        if not file.is_file() or file.stat().st_size > MAX_RESULT_BYTES:
            return None
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
