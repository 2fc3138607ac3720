"""What later stages read from earlier run folders: `run -> trajectories` and `selection run + trajectories run -> selections`.

Several stages need these two, and stages do not know each other; so they live on the ground.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from atlas.errors import DataError, RunError
from atlas.records import Selection, Trajectory
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest

TRAJECTORY_FILES: dict[str, str] = {
    "collect": "trajectories.jsonl",
    "import": "trajectories.jsonl",
    "evaluate": "episodes.jsonl",
}
SELECTION_FILE = "selections.jsonl"


def read_trajectories(run: Path) -> Iterator[Trajectory]:
    """The trajectories of a finished run, in file order, one at a time; the run itself is checked at once.

    Raises:
        RunError: no finished run of a command that writes trajectories.
        DataError: the run holds none, or (while iterating) a line is not a trajectory.
    """
    manifest = read_manifest(run, tuple(TRAJECTORY_FILES))
    trajectories = read_records(run / TRAJECTORY_FILES[manifest.command], Trajectory)
    first = next(trajectories, None)
    if first is None:
        raise DataError(
            f"{run} holds no trajectories: 'atlas {manifest.command}' left none. See its problems.jsonl for the reasons."
        )
    return chain([first], trajectories)


def read_selections(selection_run: Path, trajectories_run: Path) -> dict[str, Selection]:
    """The selections of `selection_run` by trajectory id, in file order, proven to be of `trajectories_run`.

    Raises:
        RunError: a run is missing or unfinished, or the selection was made from other trajectories.
        DataError: a run is empty, or a line is not such a record.
    """
    trajectories = read_manifest(trajectories_run, tuple(TRAJECTORY_FILES))
    source = read_manifest(selection_run, ("select",)).inputs.get("trajectories")
    advice = f"Give the run that it was made from{f' ({source.path}, seen from there)' if source else ''}, or select again."
    if source is None or source.digest != trajectories.digest:
        raise RunError(
            f"{selection_run} was made from other trajectories than those in {trajectories_run}. {advice}"
        )
    selections = {
        selection.trajectory_id: selection
        for selection in read_records(selection_run / SELECTION_FILE, Selection)
    }
    if not selections:
        raise DataError(f"{selection_run} holds no selections. Remove the folder and select again.")
    unselected = dict(selections)
    for trajectory in read_trajectories(trajectories_run):
        selection = unselected.pop(trajectory.id, None)
        if selection is None:
            raise RunError(
                f"{selection_run} has no selection for trajectory '{trajectory.id}' of {trajectories_run}. {advice}"
            )
        if selection.num_steps != len(trajectory.steps):
            raise RunError(
                f"{selection_run}: trajectory '{trajectory.id}' had {selection.num_steps} steps when it was selected from, "
                f"it has {len(trajectory.steps)} in {trajectories_run}. {advice}"
            )
    if unselected:
        raise RunError(
            f"{selection_run} selects from trajectory '{next(iter(unselected))}', which is not in {trajectories_run}. {advice}"
        )
    return selections
