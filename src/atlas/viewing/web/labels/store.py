"""The labels of people: `edits -> current labels, history, agreement, a file for every command`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from atlas.config import StrPath
from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.records import LabelType, Trajectory
from atlas.viewing.web.labels.database import LabelDatabase
from atlas.viewing.web.labels.edits import (
    Action,
    Edit,
    Labeling,
    PersonsTrajectory,
    StepLabel,
    labeled_trajectory,
    replay,
)
from atlas.viewing.web.labels.label_files import Exported, write_label_file

if TYPE_CHECKING:
    from atlas.viewing.web.labels.annotator_agreement import AnnotatorPair

TYPES: tuple[LabelType, ...] = get_args(LabelType)
MAX_NAME, MAX_TEXT = 200, 20_000
COLUMNS = (
    "id, time, annotator, trajectory_id, digest, action, step, type, reason, evidence, confidence, "
    "undoes"
)
INSERT = (
    "INSERT INTO edits (time, annotator, trajectory_id, digest, action, step, type, reason, "
    f"evidence, confidence, undoes) VALUES (?{', ?' * 10}) RETURNING {COLUMNS}"
)


class Keep(Enum):
    """In place of a part of a label: what is stored stays."""

    KEEP = "keep"


KEEP = Keep.KEEP


def utc_now() -> datetime:
    """The time of an edit."""
    return datetime.now(UTC)


class LabelStore:
    """The labels of a file, of any number of people. Safe in several threads and processes.

    Raises:
        ConfigError: the file cannot be created at this path.
        DataError: it is not a file of labels, is damaged, or is of a newer version.
    """

    def __init__(self, path: StrPath, now: Callable[[], datetime] = utc_now) -> None:
        self.database = LabelDatabase(path)
        self.now = now

    @property
    def path(self) -> Path:
        return self.database.path

    def set(
        self,
        annotator: str,
        trajectory: Trajectory,
        step: int,
        type: LabelType | Keep | None,
        *,
        reason: str | Keep | None = None,
        evidence: str | Keep | None = None,
        confidence: float | Keep | None = None,
    ) -> Edit | None:
        """Label one step, in place of this annotator's earlier label of it.

        Parts that are `KEEP` are those of the earlier label. If nothing is left, the label is taken
        back. Returns None if nothing changed.

        Raises:
            ConfigError: no such step or type, or a text or number outside its limits.
        """
        annotator = check_annotator(annotator)
        on = labeled_trajectory(trajectory)
        if not 0 <= step < on.num_steps:
            raise ConfigError(
                f"step {step} of trajectory '{on.id}': expected 0 to {on.num_steps - 1}."
            )
        if type is not None and type is not KEEP and type not in TYPES:
            raise ConfigError(f"label type '{type}' is not known. {nearest(type, TYPES)}")
        if not (confidence is None or confidence is KEEP or 0 <= confidence <= 1):
            raise ConfigError(f"confidence {confidence}: expected a number from 0 to 1.")
        reason = reason if reason is KEEP else check_text("reason", reason)
        evidence = evidence if evidence is KEEP else check_text("evidence", evidence)
        with self.database.write() as connection:
            before = _said(_labeling(connection, on, annotator).labels.get(step))
            given = type, reason, evidence, confidence
            said = tuple(
                old if new is KEEP else new for old, new in zip(before, given, strict=True)
            )
            if said == before:
                return None
            return self._add(connection, on, annotator, "label", (step, *said))

    def finish(self, annotator: str, trajectory: Trajectory, is_finished: bool = True) -> None:
        """Say that the steps without a label are not critical, or take that back."""
        annotator, on = check_annotator(annotator), labeled_trajectory(trajectory)
        with self.database.write() as connection:
            if _labeling(connection, on, annotator).is_finished != is_finished:
                self._add(connection, on, annotator, "finish" if is_finished else "reopen")

    def undo(self, annotator: str, trajectory: Trajectory) -> Edit | None:
        """Undo this annotator's last edit of a trajectory that still counts; returns that edit."""
        annotator, on = check_annotator(annotator), labeled_trajectory(trajectory)
        with self.database.write() as connection:
            row = connection.execute(
                f"SELECT {COLUMNS} FROM edits WHERE digest = ? AND annotator = ? "
                "AND action != 'undo' AND NOT EXISTS "
                "(SELECT 1 FROM edits AS later WHERE later.undoes = edits.id) "
                "ORDER BY id DESC LIMIT 1",
                (on.digest, annotator),
            ).fetchone()
            if row is None:
                return None
            undone = Edit(*row)
            self._add(connection, on, annotator, "undo", (undone.step,), undone.id)
            return undone

    def labels(self, trajectory: Trajectory) -> tuple[StepLabel, ...]:
        """The current labels of one trajectory, by annotator and step."""
        return tuple(label for one in self.labelings(trajectory) for label in one.labels.values())

    def labeling(self, annotator: str, trajectory: Trajectory) -> Labeling:
        """What one annotator says about one trajectory."""
        on = labeled_trajectory(trajectory)
        with self.database.read() as connection:
            return _labeling(connection, on, annotator.strip())

    def labelings(self, trajectory: Trajectory | None = None) -> tuple[Labeling, ...]:
        """What each annotator says about a trajectory, or about every labeled one."""
        return replay(reversed(self.history(trajectory)))

    def history(
        self, trajectory: Trajectory | None = None, limit: int | None = None
    ) -> tuple[Edit, ...]:
        """The edits of a trajectory or of all, the last one first."""
        where, values = "", []
        if trajectory is not None:
            where, values = "WHERE digest = ?", [labeled_trajectory(trajectory).digest]
        with self.database.read() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM edits {where} ORDER BY id DESC LIMIT ?",
                (*values, -1 if limit is None else limit),
            )
            return tuple(Edit(*row) for row in rows)

    def trajectories(self) -> Mapping[str, PersonsTrajectory]:
        """Every trajectory that was ever labeled, by digest."""
        with self.database.read() as connection:
            rows = connection.execute("SELECT id, digest, num_steps, task FROM trajectories")
            return {row["digest"]: PersonsTrajectory(*row) for row in rows}

    def agreement(
        self, only: Callable[[Labeling], bool] = lambda _: True
    ) -> tuple[AnnotatorPair, ...]:
        """How far each pair of annotators agrees on what both have decided, in some labelings."""
        # Statistics import NumPy, which a viewer that only shows runs does not need.
        from atlas.viewing.web.labels.annotator_agreement import measure_annotators

        return measure_annotators(filter(only, self.labelings()), self.trajectories())

    def export_labels(
        self,
        path: StrPath,
        *,
        annotator: str | None = None,
        finished_only: bool = False,
        only: Callable[[Labeling], bool] = lambda _: True,
    ) -> Exported:
        """Write the current labels as JSON Lines, the file of `annotated labels=FILE`.

        Args:
            annotator: only the labels of this person.
            finished_only: leave out trajectories that their annotator has not finished.
            only: which labelings are written, for example those of one run.
        """
        chosen = [
            one
            for one in self.labelings()
            if annotator in (None, one.annotator)
            and (one.is_finished or not finished_only)
            and only(one)
        ]
        return write_label_file(Path(path), chosen)

    def close(self) -> None:
        self.database.close()

    def _add(
        self,
        connection: sqlite3.Connection,
        on: PersonsTrajectory,
        annotator: str,
        action: Action,
        said: tuple[object, ...] = (),
        undoes: int | None = None,
    ) -> Edit:
        connection.execute(
            "INSERT OR IGNORE INTO trajectories (digest, id, num_steps, task) VALUES (?, ?, ?, ?)",
            (on.digest, on.id, on.num_steps, on.task),
        )
        now = self.now().isoformat(timespec="milliseconds")
        of_step = (*said, *[None] * (5 - len(said)))
        values = (now, annotator, on.id, on.digest, action, *of_step, undoes)
        return Edit(*connection.execute(INSERT, values).fetchone())


def check_annotator(name: str) -> str:
    """The name of an annotator without blanks around it.

    Raises:
        ConfigError: it is empty or too long.
    """
    return check_text("annotator", name, MAX_NAME) or _refuse_empty()


def check_text(what: str, text: str | None, limit: int = MAX_TEXT) -> str | None:
    """A text without blanks around it; None if nothing is left.

    Raises:
        ConfigError: it is too long, or is not Unicode text.
    """
    text = (text or "").strip()
    if len(text) > limit:
        raise ConfigError(f"{what}: {len(text):,} characters, expected at most {limit:,}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{what}: not text that can be written as UTF-8.") from None
    return text or None


def _refuse_empty() -> str:
    raise ConfigError(
        "annotator is empty: it distinguishes the labels of several people. Give a name."
    )


def _said(label: StepLabel | None) -> tuple[object, ...]:
    if label is None:
        return None, None, None, None
    return label.type, label.reason, label.evidence, label.confidence


def _labeling(connection: sqlite3.Connection, on: PersonsTrajectory, annotator: str) -> Labeling:
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM edits WHERE digest = ? AND annotator = ? ORDER BY id",
        (on.digest, annotator),
    )
    found = replay(Edit(*row) for row in rows)
    return found[0] if found else Labeling(on.id, on.digest, annotator)
