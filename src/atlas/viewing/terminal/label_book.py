"""The file of labels, written one whole trajectory at a time.

    FILE.jsonl            labels of whole trajectories (docs/formats.md), of any number of people
    FILE.jsonl.partial    drafts: labels of unfinished trajectories, one flushed line each

A draft has the digest of its trajectory, because another run may have other steps under this id.

The labels of a finished trajectory move to FILE by an atomic replacement.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from atlas.errors import ConfigError, DataError
from atlas.records import Label, LabelType, Record, Trajectory
from atlas.store.labels import read_labels
from atlas.store.locks import hold_lock
from atlas.store.paths import check_path
from atlas.store.record_files import to_json, write_records, write_text, written_whole
from atlas.viewing.web.labels.edits import labeled_trajectory


class Draft(Record):
    """A label of a trajectory that is not finished; `digest` is that of its steps."""

    digest: str
    label: Label


class LabelBook:
    """One annotator's labels in a file, used in a `with`; labels of others stay unchanged.

    Raises:
        ConfigError: the file's name does not end in .jsonl.
        DataError: the file holds something other than labels.
        RunError: another process writes it.
    """

    def __init__(self, path: Path, annotator: str) -> None:
        if path.suffix.lower() != ".jsonl":
            raise ConfigError(
                f"{path} does not end in .jsonl: labels are written as JSON Lines. "
                "Choose another --out."
            )
        check_path(path, "--out", longest_ending=".partial")
        if not path.parent.is_dir():
            raise ConfigError(
                f"{path.parent} is not a folder, so {path.name} cannot be written there. "
                "Create it first, or choose another --out."
            )
        self.path = path
        self.annotator = annotator
        self._lock = hold_lock(path.with_name(f".{path.name}.lock"), path)
        try:
            self._finished = _find_labeled(path, annotator)
            self._partial = path.with_name(path.name + ".partial")
            # After a crash, the trajectory of a draft may already be in the file.
            self._drafts = [
                draft
                for draft in _read_drafts(self._partial)
                if draft.label.annotator != annotator
                or draft.label.trajectory_id not in self._finished
            ]
        except BaseException:
            self._lock.release()
            raise

    def is_finished(self, trajectory_id: str) -> bool:
        """Whether this annotator has labeled the trajectory."""
        return trajectory_id in self._finished

    def drafts(self, trajectory: Trajectory) -> list[Label]:
        """The labels of a trajectory that is not finished, step by step.

        Raises:
            DataError: there are labels of another trajectory with the same id.
        """
        digest = labeled_trajectory(trajectory).digest
        drafts = self._drafts_of(trajectory.id)
        if any(draft.digest != digest for draft in drafts):
            raise DataError(
                f"{self._partial}: the labels of trajectory '{trajectory.id}' by "
                f"{self.annotator} are about other steps than this run has, expected the same "
                "ones. Finish it with the run that it was begun with, or choose another --out."
            )
        return [draft.label for draft in drafts]

    def add(
        self, trajectory: Trajectory, step: int, kind: LabelType, note: str | None = None
    ) -> None:
        """Keep the label of the next step of a trajectory."""
        label = Label(
            trajectory_id=trajectory.id, step=step, type=kind, annotator=self.annotator, note=note
        )
        draft = Draft(digest=labeled_trajectory(trajectory).digest, label=label)
        with self._partial.open("ab") as file:
            file.write(to_json(draft) + b"\n")
        self._drafts.append(draft)

    def drop_last(self, trajectory: Trajectory) -> None:
        """Remove the last label of a trajectory."""
        self._drafts.remove(self._drafts_of(trajectory.id)[-1])
        write_records(self._partial, self._drafts)

    def finish(self, trajectory: Trajectory) -> None:
        """Move the labels to the file, because all steps are labeled."""
        labels = self.drafts(trajectory)
        earlier = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        if earlier and not earlier.endswith("\n"):
            earlier += "\n"
        write_text(self.path, earlier + "".join(to_json(label).decode() + "\n" for label in labels))
        self._finished.add(trajectory.id)
        self._drafts = [draft for draft in self._drafts if draft.label not in labels]
        write_records(self._partial, self._drafts)

    def _drafts_of(self, trajectory_id: str) -> list[Draft]:
        who = (self.annotator, trajectory_id)
        return [
            draft
            for draft in self._drafts
            if (draft.label.annotator, draft.label.trajectory_id) == who
        ]

    def __enter__(self) -> LabelBook:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._drafts:
            self._partial.unlink(missing_ok=True)
        self._lock.release()


def _find_labeled(path: Path, annotator: str) -> set[str]:
    if not path.exists():
        return set()
    file = read_labels(path)
    if file.problems:
        first = file.problems[0]
        raise DataError(
            f"{path.parent / first.where}: {first.reason}. Fix the file before adding labels, or "
            "choose another --out."
        )
    labels = (placed.label for placed in file.labels)
    return {label.trajectory_id for label in labels if label.annotator == annotator}


def _read_drafts(partial: Path) -> list[Draft]:
    """Read the labels of an earlier session. An incomplete last line is removed."""
    if not partial.exists():
        return []
    kept, newline, torn = partial.read_bytes().rpartition(b"\n")
    if torn:
        # Whole or not at all: the other lines are kept nowhere else.
        with written_whole(partial) as file:
            file.write(kept + newline)
    try:
        return [Draft.model_validate_json(line) for line in kept.split(b"\n") if line]
    except ValidationError as error:
        raise DataError(
            f"{partial} holds something other than drafts of labels "
            f"({error.errors()[0]['msg']}). Remove it: unfinished trajectories are then labeled "
            "from their first step."
        ) from None
