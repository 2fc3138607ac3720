"""Reads the run folders of earlier stages: `run -> trajectories`, `runs -> selections`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from atlas.config import StrPath
from atlas.errors import DataError, RunError
from atlas.records import Selection, Trajectory
from atlas.store.manifests import read_manifest
from atlas.store.record_files import RecordIndex, read_records

TRAJECTORY_FILES: dict[str, str] = {
    "collect": "trajectories.jsonl",
    "import": "trajectories.jsonl",
    "evaluate": "episodes.jsonl",
}
SELECTION_FILE = "selections.jsonl"


def read_trajectories(run: StrPath) -> Iterator[Trajectory]:
    """The trajectories of a finished run, in file order, one at a time; the run is checked at once.

    "Checked" means that its files have the digests in its manifest.

    Raises:
        RunError: not a finished run of a command that writes trajectories.
        DataError: the run holds none, or (while iterating) a line is not a trajectory.
    """
    run = Path(run)
    command = read_manifest(run, tuple(TRAJECTORY_FILES)).command
    trajectories = read_records(run / TRAJECTORY_FILES[command], Trajectory)
    first = next(trajectories, None)
    if first is None:
        raise DataError(
            f"{run} holds no trajectories: 'atlas {command}' left none. "
            "See its problems.jsonl for the reasons."
        )
    return chain([first], trajectories)


def read_selections(selection_run: StrPath, trajectories_run: StrPath) -> Mapping[str, Selection]:
    """The selections of `selection_run` by trajectory id, in file order.

    Each is read from the file whenever it is asked for; `dict(…)` of the result holds them all. No
    trajectory is parsed: a digest in the manifest proves that the selections were made from
    `trajectories_run`.

    Raises:
        RunError: a run is missing, unfinished or changed, or the selection was made from other
            trajectories.
        DataError: the selection run is empty, or a line is not a selection.
    """
    selection_run, trajectories_run = map(Path, (selection_run, trajectories_run))
    file = _selection_file(selection_run, trajectories_run)
    selections = RecordIndex(file, Selection, "trajectory_id")
    if not selections:
        raise _no_selections(selection_run)
    return selections


def limit_of(run: Path) -> int | None:
    """The number of items to which a finished run was limited (`limit=N`); None without a limit."""
    limit = read_manifest(run).config.get("limit")
    return limit if isinstance(limit, int) else None


def describe_limit(run: Path) -> str | None:
    """A sentence on a run that was limited, for every command that reads it."""
    limit = limit_of(run)
    if limit is None:
        return None
    what = {"import": "trajectories of its files", "evaluate": "of its tasks"}
    command = read_manifest(run).command
    return (
        f"{run} holds the first {limit:,} {what.get(command, 'trajectories of its input')} only "
        f"(limit={limit})"
    )


def limits_of(*runs: Path) -> list[str]:
    """The sentences on those of the runs that were limited."""
    return [said for run in runs if (said := describe_limit(run)) is not None]


def read_selected(
    selection_run: Path, trajectories_run: Path
) -> Iterator[tuple[Trajectory, Selection]]:
    """Each trajectory with its selection, in one pass; the runs are checked at once.

    If the selection was limited, only its trajectories are read.

    Raises:
        RunError: as `read_selections`; or (while iterating) the selections do not fit the
            trajectories one by one.
        DataError: a run is empty, or a line is not such a record.
    """
    selections = read_records(_selection_file(selection_run, trajectories_run), Selection)
    first = next(selections, None)
    if first is None:
        raise _no_selections(selection_run)
    trajectories = islice(read_trajectories(trajectories_run), limit_of(selection_run))
    return _pairs(chain([first], selections), trajectories, selection_run, trajectories_run)


def _selection_file(selection_run: Path, trajectories_run: Path) -> Path:
    """The file of selections, proved to be made from these trajectories."""
    manifest = read_manifest(trajectories_run, tuple(TRAJECTORY_FILES))
    source = read_manifest(selection_run, ("select",)).inputs.get("trajectories")
    if source is None or source.digest != manifest.digest:
        made_from = f" ({source.path}, seen from there)" if source else ""
        raise RunError(
            f"{selection_run} was made from other trajectories than those in {trajectories_run}. "
            f"Give the run that it was made from{made_from}, or select again."
        )
    return selection_run / SELECTION_FILE


def _no_selections(run: Path) -> DataError:
    return DataError(f"{run} holds no selections. Remove the folder and select again.")


def _pairs(
    selections: Iterator[Selection],
    trajectories: Iterator[Trajectory],
    selection_run: Path,
    trajectories_run: Path,
) -> Iterator[tuple[Trajectory, Selection]]:
    advice = "Remove the selection run and select again."
    # A select command writes the order of the trajectories, so this stays empty.
    passed: dict[str, Selection] = {}
    for trajectory in trajectories:
        selection = passed.pop(trajectory.id, None)
        while selection is None and (read := next(selections, None)) is not None:
            if read.trajectory_id == trajectory.id:
                selection = read
            else:
                passed[read.trajectory_id] = read
        if selection is None:
            raise RunError(
                f"{selection_run} has no selection for trajectory '{trajectory.id}' "
                f"of {trajectories_run}. {advice}"
            )
        if selection.num_steps != len(trajectory.steps):
            raise RunError(
                f"{selection_run}: trajectory '{trajectory.id}' had {selection.num_steps} steps "
                f"when it was selected from, it has {len(trajectory.steps)} in "
                f"{trajectories_run}. {advice}"
            )
        yield trajectory, selection
    for left in chain(passed.values(), selections):
        raise RunError(
            f"{selection_run} selects from trajectory '{left.trajectory_id}', "
            f"which is not in {trajectories_run}. {advice}"
        )
