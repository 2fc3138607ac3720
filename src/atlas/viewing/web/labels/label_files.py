"""Labels as the file that other commands read (docs/formats.md, "Labels of people")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import DataError
from atlas.records import Label
from atlas.store.record_files import write_records
from atlas.viewing.web.labels.edits import Labeling, StepLabel


@dataclass(frozen=True, slots=True)
class Exported:
    """What a file of labels holds; in an unfinished trajectory, other steps count as `none`."""

    num_labels: int
    num_trajectories: int
    num_unfinished: int


def write_label_file(path: Path, labelings: Iterable[Labeling]) -> Exported:
    """Write labels as JSON Lines, whole or not at all.

    Raises:
        DataError: as `label_lines`.
    """
    labelings = list(labelings)
    lines = label_lines(labelings)
    write_records(path, lines)
    return Exported(
        num_labels=len(lines),
        num_trajectories=len({label.trajectory_id for label in lines}),
        num_unfinished=sum(not one.is_finished for one in labelings),
    )


def label_lines(labelings: Iterable[Labeling]) -> list[Label]:
    """The lines of a file of labels.

    Raises:
        DataError: two versions of one trajectory, with the same id and other steps, are labeled:
            the file names trajectories by id only.
    """
    labelings = list(labelings)
    versions: dict[str, str] = {}
    for one in labelings:
        if versions.setdefault(one.trajectory_id, one.digest) != one.digest:
            raise DataError(
                f"trajectory '{one.trajectory_id}' was labeled in two versions with different "
                "steps, and a file of labels names it by its id only. Export the labels of one run."
            )
    return [label for one in labelings for label in labels_of(one)]


def labels_of(labeling: Labeling) -> Iterator[Label]:
    """The lines of one person and trajectory. A remark without a decision has none."""
    decided = [label for label in labeling.labels.values() if label.type is not None]
    for label in decided:
        yield Label(
            trajectory_id=labeling.trajectory_id,
            step=label.step,
            type=label.type or "none",
            annotator=labeling.annotator,
            note=_note(label),
        )
    if labeling.is_finished and not decided:
        # A file says "no step is critical" with one step that is not.
        yield Label(
            trajectory_id=labeling.trajectory_id,
            step=0,
            type="none",
            annotator=labeling.annotator,
        )


def _note(label: StepLabel) -> str | None:
    """Reason, evidence and confidence as one note."""
    parts = [label.reason or ""]
    if label.evidence:
        parts.append(f"evidence: {label.evidence}")
    if label.confidence is not None:
        parts.append(f"confidence {label.confidence:g}")
    return "; ".join(part for part in parts if part) or None
