"""Selections of a run, with the trajectories that they were made from proven by digest."""

from __future__ import annotations

from pathlib import Path

from atlas.errors import DataError, RunError
from atlas.records import Selection
from atlas.store.readers import SELECTION_FILE
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest


def read_selections_of(selection: Path, trajectories: Path) -> dict[str, Selection]:
    """The selections of a run by trajectory id, in file order.

    The digest in the manifest proves that they were made from these trajectories, so the
    trajectories are not parsed.

    Raises:
        RunError: a run is missing or unfinished, or the selection was made from other trajectories.
        DataError: the run is empty, or a line is not a selection.
    """
    source = read_manifest(selection, ("select",)).inputs.get("trajectories")
    if source is None or source.digest != read_manifest(trajectories).digest:
        place = f" ({source.path}, relative to it)" if source else ""
        raise RunError(
            f"{selection} was made from other trajectories than those in {trajectories}. "
            f"Give the run that it was made from{place}, or select again."
        )
    records = read_records(selection / SELECTION_FILE, Selection)
    selections = {record.trajectory_id: record for record in records}
    if not selections:
        raise DataError(f"{selection} holds no selections. Remove the folder and select again.")
    return selections
