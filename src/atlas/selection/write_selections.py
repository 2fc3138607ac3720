"""Write: `selections in memory -> run folder`, as `select` would."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from atlas.config import Config, StrPath
from atlas.errors import DataError
from atlas.records import Problem, Selection
from atlas.selection.config import SelectConfig
from atlas.selection.outlines import Outline
from atlas.selection.summary import summarize_selections
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES, read_trajectories
from atlas.store.record_files import to_json, write_records
from atlas.store.run_folders import Manifest, run_input, start_run


class WriteSelectionsConfig(Config):
    """What a program selected, and how it describes its choice."""

    sentence: str = Field(description="who chose the steps: the steps that …")
    content: str = Field(description="SHA-256 of the selections")


def write_selections(
    selections: Iterable[Selection], trajectories: StrPath, out: StrPath, *, sentence: str
) -> Manifest:
    """Write one selection for each trajectory of the run `trajectories` into the run folder `out`.

    Args:
        sentence: who chose the steps, for reports and model cards: "the steps that …".

    Raises:
        DataError: a trajectory has no selection or one with another number of steps, or a selection
            is of another trajectory.
        RunError: `trajectories` is not a finished run, or `out` holds another run.
    """
    trajectories, out = Path(trajectories), Path(out)
    inputs = {"trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES))}
    outlines: dict[str, Outline] = {}
    ordered = _in_order({one.trajectory_id: one for one in selections}, trajectories, outlines)
    content = hashlib.sha256(b"".join(map(to_json, ordered))).hexdigest()
    config = WriteSelectionsConfig(sentence=sentence, content=content)
    with start_run(out, "select", config, inputs) as run:
        if run.finished:
            return run.manifest
        write_records(out / SELECTION_FILE, ordered)
        problems: list[Problem] = []
        summary: dict[str, Any] = summarize_selections(
            ordered, SelectConfig(), outlines, problems, None
        )
        run.write_problems(problems)
        names = sorted({one.selector for one in ordered})
        chosen_by = {
            "selector": ", ".join(names),
            "sentence": sentence,
            "asks_a_model": False,
            "model": None,
        }
        summary |= {"budget": "set by the program that selected", "chosen_by": chosen_by}
        return run.finish(summary)


def _in_order(
    selections: dict[str, Selection], trajectories: Path, outlines: dict[str, Outline]
) -> list[Selection]:
    """The selections in the order of the trajectories, checked against them.

    `outlines` is filled with those of every trajectory.
    """
    ordered: list[Selection] = []
    for trajectory in read_trajectories(trajectories):
        found = selections.pop(trajectory.id, None)
        if found is None or found.num_steps != len(trajectory.steps):
            has = "none" if found is None else f"one of {found.num_steps}"
            raise DataError(
                f"trajectory '{trajectory.id}' of {trajectories}: expected a selection of "
                f"{len(trajectory.steps)} steps, given {has}."
            )
        ordered.append(found)
        outlines[trajectory.id] = Outline.of(trajectory)
    for left in selections:
        raise DataError(f"a selection is of trajectory '{left}', which is not in {trajectories}.")
    return ordered
