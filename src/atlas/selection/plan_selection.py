"""What a selection would do, in words: `trajectories -> lines`. Nothing is sent or written."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from atlas.selection.config import SelectConfig
from atlas.selection.prepare_selection import prepare_selection
from atlas.selection.scores import SCORES_FILE, StepScores
from atlas.selection.selectors.base import HasPlan
from atlas.store.readers import read_trajectories
from atlas.store.record_log import read_log
from atlas.store.run_folders import check_folder


def plan_selection(config: SelectConfig, trajectories: Path, out: Path) -> list[str] | None:
    """What the run `out` still has to do; None if the selector has only an estimate of tokens.

    Raises:
        RunError: `out` belongs to another run.
    """
    prepared = prepare_selection(config, trajectories, out)
    if not isinstance(prepared.selector, HasPlan):
        return None
    check_folder(out, "select", config, prepared.inputs)
    done = {scores.trajectory_id for scores in read_log(out / SCORES_FILE, StepScores)}
    read = islice(read_trajectories(trajectories), config.limit)
    return prepared.selector.plan((one for one in read if one.id not in done), out)
