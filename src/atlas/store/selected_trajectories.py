"""Trajectories with their selections: each trajectory is parsed once, and checked on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from atlas.errors import DataError, RunError
from atlas.records import Selection, Trajectory
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES, read_trajectories
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest


class SelectedTrajectories:
    """Iterates over the trajectories of a run with the selection of each, in file order.

    Its length is the number of selections. The runs themselves are checked at once, each pair when
    its turn comes.

    Raises:
        RunError: a run is missing or unfinished, the selection was made from other trajectories, or
            (while iterating) the two do not fit together.
        DataError: a run is empty, or a line is not such a record.
    """

    def __init__(self, trajectories_run: Path, selection_run: Path) -> None:
        self._runs = (trajectories_run, selection_run)
        trajectories = read_manifest(trajectories_run, tuple(TRAJECTORY_FILES))
        source = read_manifest(selection_run, ("select",)).inputs.get("trajectories")
        place = f" ({source.path}, seen from there)" if source else ""
        self._advice = f"Give the run that it was made from{place}, or select again."
        if source is None or source.digest != trajectories.digest:
            raise RunError(
                f"{selection_run} was made from other trajectories than those in "
                f"{trajectories_run}. {self._advice}"
            )
        self._selections = {
            selection.trajectory_id: selection
            for selection in read_records(selection_run / SELECTION_FILE, Selection)
        }
        if not self._selections:
            raise DataError(
                f"{selection_run} holds no selections. Remove the folder and select again."
            )

    def __len__(self) -> int:
        return len(self._selections)

    def __iter__(self) -> Iterator[tuple[Trajectory, Selection]]:
        trajectories_run, selection_run = self._runs
        left = dict(self._selections)
        for trajectory in read_trajectories(trajectories_run):
            selection = left.pop(trajectory.id, None)
            if selection is None:
                raise RunError(
                    f"{selection_run} has no selection for trajectory '{trajectory.id}' of "
                    f"{trajectories_run}. {self._advice}"
                )
            if selection.num_steps != len(trajectory.steps):
                raise RunError(
                    f"{selection_run}: trajectory '{trajectory.id}' had {selection.num_steps} "
                    f"steps when it was selected from, it has {len(trajectory.steps)} in "
                    f"{trajectories_run}. {self._advice}"
                )
            yield trajectory, selection
        if left:
            raise RunError(
                f"{selection_run} selects from trajectory '{next(iter(left))}', which is not in "
                f"{trajectories_run}. {self._advice}"
            )
