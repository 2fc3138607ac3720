"""What other selection runs chose, for the selectors that start from them.

The digest of the trajectories proves that a run is of the same ones, so they are not read for it.
"""

from __future__ import annotations

from pathlib import Path

from atlas.errors import DataError, RunError
from atlas.records import Selection
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest


def read_other_selections(run: Path, trajectories: Path) -> dict[str, Selection]:
    """The selections of `run` by trajectory id.

    Raises:
        RunError: it is not a finished selection run made from `trajectories`.
        DataError: it is empty, or a line is not a selection.
    """
    source = read_manifest(run, ("select",)).inputs.get("trajectories")
    if (
        source is None
        or source.digest != read_manifest(trajectories, tuple(TRAJECTORY_FILES)).digest
    ):
        made_from = f" ({source.path}, seen from there)" if source else ""
        raise RunError(
            f"{run} was made from other trajectories than those in {trajectories}. Give the run "
            f"that it was made from{made_from}, or select again."
        )
    selections = {
        selection.trajectory_id: selection
        for selection in read_records(run / SELECTION_FILE, Selection)
    }
    if not selections:
        raise DataError(f"{run} holds no selections. Remove the folder and select again.")
    return selections
