"""A selection run of the same trajectories, which another selector uses as its input."""

from __future__ import annotations

from pathlib import Path

from atlas.errors import RunError
from atlas.records import Selection, Trajectory
from atlas.store.readers import read_selections
from atlas.store.run_folders import Input, run_input

# Marks a setting that names selection runs; in the recipe of an experiment it may name other arms.
NAMES_SELECTIONS = "names selection runs, or other arms of an experiment"


class OtherSelection:
    """The selections of a finished run, by trajectory, read when they are asked for.

    Raises:
        RunError: `run` is not a finished selection run of `trajectories`.
    """

    def __init__(self, run: str, trajectories: Path) -> None:
        self._run = Path(run)
        self._selections = read_selections(self._run, trajectories)
        # This is the name of the selector that made them.
        self.selector = next((one.selector for one in self._selections.values()), "")

    def input(self, out: Path) -> Input:
        return run_input(self._run, out, ("select",))

    def find(self, trajectory: Trajectory) -> Selection:
        """The selection of `trajectory`.

        Raises:
            RunError: the run has no selection of it, or one with another number of steps.
        """
        found = self._selections.get(trajectory.id)
        if found is None or found.num_steps != len(trajectory.steps):
            raise RunError(
                f"the selection {self._run} has none for trajectory '{trajectory.id}' with "
                f"{len(trajectory.steps)} steps. Give of=… a selection of these trajectories."
            )
        return found
