"""The answers of a calibration: they concern single steps, so they are not labels.

A label says that the other steps of its trajectory are not critical. Whoever calibrates sees one
step of a trajectory, and says nothing about the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.records import LabelType
from atlas.viewing.web.labels.database import LabelDatabase
from atlas.viewing.web.labels.store import TYPES, check_annotator, check_text, utc_now

# Trajectory id and step.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person said about a step without seeing what the selector said."""

    type: LabelType
    reason: str | None = None

    @property
    def is_critical(self) -> bool:
        return self.type != "none"


class AnswerStore:
    """Answers in a file of labels. An answer is only added; the last one about a step counts."""

    def __init__(self, database: LabelDatabase, now: Callable[[], datetime] = utc_now) -> None:
        self._database, self._now = database, now

    def add(
        self,
        annotator: str,
        calibration: str,
        place: Place,
        type: LabelType,
        reason: str | None = None,
    ) -> None:
        """Keep an answer. It is on the disk when this returns.

        Raises:
            ConfigError: an unknown type, or a text or name outside its limits.
        """
        if type not in TYPES:
            raise ConfigError(f"answer '{type}' is not known. {nearest(type, TYPES)}")
        id_, step = place
        now = self._now().isoformat(timespec="milliseconds")
        who, said = check_annotator(annotator), check_text("reason", reason)
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO answers (time, annotator, calibration, trajectory_id, step, type, "
                "reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now, who, calibration, id_, step, type, said),
            )

    def answers(self, annotator: str, calibration: str) -> Mapping[Place, Answer]:
        """The last answer of a person about each step of a calibration."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT trajectory_id, step, type, reason FROM answers "
                "WHERE calibration = ? AND annotator = ? ORDER BY id",
                (calibration, annotator.strip()),
            )
            return {(row[0], row[1]): Answer(row[2], row[3]) for row in rows}

    def annotators(self, calibration: str) -> tuple[str, ...]:
        """Who has answered anything."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT DISTINCT annotator FROM answers WHERE calibration = ? ORDER BY annotator",
                (calibration,),
            )
            return tuple(row[0] for row in rows)
