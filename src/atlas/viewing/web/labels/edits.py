"""What a file of labels holds: edits, and the labels that follow from them.

An edit is never changed or removed. An undo is an edit that names the edit it undoes, so the
history shows who did what and when. The current labels are a function of the edits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from atlas.records import LabelType, Trajectory
from atlas.statistics.task_unit import task_of

Action = Literal["label", "finish", "reopen", "undo"]


@dataclass(frozen=True, slots=True)
class PersonsTrajectory:
    """The trajectory that an edit is about.

    `digest` covers the id and what the agent wrote in each step. Runs that hold the same
    trajectory share its labels: a copy, a filtered import, a run that is still being written. An
    episode with the same id and other steps does not have these labels.
    """

    id: str
    digest: str
    num_steps: int
    task: str


@dataclass(frozen=True, slots=True)
class Edit:
    """One line of the history.

    Attributes:
        time: UTC, in the form of ISO 8601.
        step: the index of the step; None for `finish` and `reopen`.
        type: None if the person has not decided, or has taken the label back.
        confidence: from 0 to 1.
        undoes: for `undo`, the id of the edit that no longer counts.
    """

    id: int
    time: str
    annotator: str
    trajectory_id: str
    digest: str
    action: Action
    step: int | None = None
    type: LabelType | None = None
    reason: str | None = None
    evidence: str | None = None
    confidence: float | None = None
    undoes: int | None = None


@dataclass(frozen=True, slots=True)
class StepLabel:
    """What one person says now about one step; `type` is None for a remark without a decision."""

    annotator: str
    trajectory_id: str
    digest: str
    step: int
    type: LabelType | None
    reason: str | None
    evidence: str | None
    confidence: float | None
    time: str

    @property
    def is_critical(self) -> bool:
        return self.type not in (None, "none")


@dataclass(frozen=True, slots=True)
class Labeling:
    """The labels of one person for one trajectory.

    If it is finished, a step without a label is not critical.
    """

    trajectory_id: str
    digest: str
    annotator: str
    labels: Mapping[int, StepLabel] = field(default_factory=dict)
    is_finished: bool = False

    @property
    def critical(self) -> frozenset[int]:
        return frozenset(step for step, label in self.labels.items() if label.is_critical)

    @property
    def decided(self) -> frozenset[int]:
        """The steps with an explicit decision."""
        return frozenset(step for step, label in self.labels.items() if label.type is not None)


def labeled_trajectory(trajectory: Trajectory) -> PersonsTrajectory:
    """What identifies a trajectory in a file of labels."""
    steps = [
        (
            step.response.content,
            step.response.reasoning,
            [(call.name, call.arguments) for call in step.response.tool_calls],
        )
        for step in trajectory.steps
    ]
    content = json.dumps([trajectory.id, steps], ensure_ascii=False).encode()
    digest = hashlib.sha256(content).hexdigest()
    return PersonsTrajectory(trajectory.id, digest, len(trajectory.steps), task_of(trajectory))


def replay(edits: Iterable[Edit]) -> tuple[Labeling, ...]:
    """The current labels, from all edits in order; sorted by trajectory and annotator."""
    edits = list(edits)
    undone = {edit.undoes for edit in edits if edit.undoes is not None}
    labels: dict[tuple[str, str, str], dict[int, StepLabel]] = {}
    finished: set[tuple[str, str, str]] = set()
    for edit in edits:
        if edit.action == "undo" or edit.id in undone:
            continue
        key = edit.trajectory_id, edit.digest, edit.annotator
        of_trajectory = labels.setdefault(key, {})
        if edit.action == "finish":
            finished.add(key)
        elif edit.action == "reopen":
            finished.discard(key)
        elif edit.step is not None:
            of_trajectory.pop(edit.step, None)
            if (label := _label_of(edit)) is not None:
                of_trajectory[edit.step] = label
    return tuple(
        Labeling(*key, labels=dict(sorted(labels[key].items())), is_finished=key in finished)
        for key in sorted(labels)
        if labels[key] or key in finished
    )


def _label_of(edit: Edit) -> StepLabel | None:
    """The label that an edit sets; None if it takes one back."""
    said = (edit.type, edit.reason, edit.evidence, edit.confidence)
    if edit.step is None or all(part is None for part in said):
        return None
    return StepLabel(
        annotator=edit.annotator,
        trajectory_id=edit.trajectory_id,
        digest=edit.digest,
        step=edit.step,
        type=edit.type,
        reason=edit.reason,
        evidence=edit.evidence,
        confidence=edit.confidence,
        time=edit.time,
    )
