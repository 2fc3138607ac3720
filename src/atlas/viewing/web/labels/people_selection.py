"""Labels as a selection: `labels + run of trajectories -> run of select`, for every command.

The viewer may not import the stage that selects, so the command line hands in the function that
runs `atlas select --selector annotated labels=FILE`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atlas.errors import ConfigError, DataError
from atlas.store.paths import name_fault
from atlas.viewing.web.labels.edits import Labeling, labeled_trajectory
from atlas.viewing.web.labels.label_files import Exported
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library, NotFound


class MakeSelection(Protocol):
    """Runs `annotated` on a file of labels; returns what it selected, as a phrase."""

    def __call__(
        self, trajectories: Path, labels: Path, out: Path, annotator: str | None, ratio: float
    ) -> str: ...


@dataclass(frozen=True, slots=True)
class PeopleSelection:
    """The run that was written, the file of labels beside it, and what is in them."""

    out: Path
    labels: Path
    exported: Exported
    selected: str


def labels_of_run(library: Library, source_key: str, labeling: Labeling) -> bool:
    """Whether a run holds the trajectory that was labeled, with the same steps."""
    try:
        trajectory = library.trajectory(source_key, labeling.trajectory_id)
    except NotFound:
        return False
    return labeled_trajectory(trajectory).digest == labeling.digest


def write_people_selection(
    library: Library,
    store: LabelStore,
    make: MakeSelection,
    source_key: str,
    name: str,
    *,
    annotator: str | None = None,
    ratio: float = 1.0,
    finished_only: bool = False,
    only: Callable[[Labeling], bool] = lambda _: True,
) -> PeopleSelection:
    """Write the labels of a run as a selection, beside the file of labels.

    Args:
        name: of the new folder.
        ratio: the share of steps that may be selected; 1 keeps every step that people chose.
        only: which labelings may be used.

    Raises:
        ConfigError: the name or the share cannot be used, or the folder exists.
        DataError: nobody labeled a trajectory of this run.
    """
    source = library.source(source_key)
    if source.kind != "trajectories" or source.is_partial:
        raise ConfigError(
            f"{source.title}: a selection is made from a finished run of trajectories. Choose one."
        )
    if (fault := name_fault(name)) is not None:
        raise ConfigError(f"the name '{name}' cannot be that of a folder: {fault}.")
    if not 0 < ratio <= 1:
        raise ConfigError(f"share of steps {ratio:g}: expected a number above 0, up to 1.")
    out = store.path.parent / name
    file = out.with_name(f"{name}.labels.jsonl")
    _reserve(out, file)
    try:
        exported = store.export_labels(
            file,
            annotator=annotator,
            finished_only=finished_only,
            only=lambda one: only(one) and labels_of_run(library, source_key, one),
        )
        if not exported.num_labels:
            who = annotator or "anyone"
            raise DataError(f"{source.title} has no label by {who} yet. Label a step first.")
        selected = make(source.path, file, out, annotator, ratio)
    except BaseException:
        # The name can be used again.
        shutil.rmtree(out, ignore_errors=True)
        file.unlink(missing_ok=True)
        raise
    return PeopleSelection(out, file, exported, selected)


def _reserve(out: Path, file: Path) -> None:
    """Create `file`, so that of two people who choose a name at once only one gets it.

    Raises:
        ConfigError: one of both exists already, or cannot be created.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already. Choose another name.")
    try:
        file.open("xb").close()
    except FileExistsError:
        raise ConfigError(f"{file} exists already. Choose another name.") from None
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be created ({error.strerror}). Choose another name, or check the "
            "folder."
        ) from None
