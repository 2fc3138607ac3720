"""The controls of labels beside a trajectory: `trajectory + labels -> LabelingView`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from atlas.presenting.wording import KIND_LABELS
from atlas.records import CRITICAL_KINDS, LabelType, Trajectory
from atlas.viewing.web.labels.edits import Labeling, StepLabel

TYPE_NAMES: dict[LabelType, str] = {
    "none": "not critical",
    "critical": "critical",
    **{kind: KIND_LABELS[kind] for kind in CRITICAL_KINDS},
}
# Browsers need seconds for hundreds of forms with fields to write in. On a page with more steps,
# a step has these fields if they are used, or if its link is followed.
MAX_STEPS_WITH_FIELDS = 100
CONFIDENCES = ((0.25, "a guess"), (0.5, "unsure"), (0.75, "rather sure"), (1.0, "sure"))


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """One choice for a step.

    `key` is the key of the keyboard that chooses it now. `shown_key` may be hidden: space chooses
    "critical" or "not critical", by what is chosen.
    """

    value: LabelType
    name: str
    key: str = ""
    shown_key: str = ""
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class Confidence:
    """One choice of how sure the annotator is."""

    value: float
    name: str
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class SaidByOther:
    """What another annotator says about a step."""

    annotator: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepLabeling:
    """The controls of one step; `saved` says who labeled it and when.

    Attributes:
        has_fields: for reason, evidence and confidence; otherwise the page links to them.
        is_asked: the link was followed.
        query: the parameters of the list, which the answers keep.
    """

    source: str
    trajectory_id: str
    step: int
    choices: tuple[LabelChoice, ...]
    confidences: tuple[Confidence, ...]
    reason: str = ""
    evidence: str = ""
    saved: str = ""
    others: tuple[SaidByOther, ...] = ()
    has_fields: bool = True
    is_asked: bool = False
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelingView:
    """The controls of a trajectory.

    `is_hidden`: what selectors and other people say stays hidden until the annotator has finished.
    `query` has the parameters of the list that the page belongs to.
    """

    source: str
    trajectory_id: str
    annotator: str
    num_steps: int
    num_decided: int
    num_critical: int
    is_finished: bool
    is_hidden: bool
    steps: tuple[StepLabeling, ...]
    query: Mapping[str, str]


def describe_labeling(
    trajectory: Trajectory,
    source: str,
    annotator: str,
    labelings: Sequence[Labeling],
    *,
    is_hidden: bool = False,
    asked_step: int | None = None,
    query: Mapping[str, str] | None = None,
) -> LabelingView:
    """The controls of one annotator, with what others say.

    Args:
        source: the key of the run.
        labelings: of all annotators of this trajectory.
        is_hidden: leave out what other people say.
        asked_step: the step of which the fields are asked for.
        query: the parameters of the list that the page belongs to.
    """
    own = next((one for one in labelings if one.annotator == annotator), None)
    is_finished = own is not None and own.is_finished
    others = [] if is_hidden else [one for one in labelings if one.annotator != annotator]
    labels = {} if own is None else own.labels
    has_all_fields = len(trajectory.steps) <= MAX_STEPS_WITH_FIELDS

    def controls(step: int) -> StepLabeling:
        made = _step(source, trajectory.id, step, labels.get(step), others)
        is_asked = step == asked_step
        is_used = made.reason or made.evidence or any(one.is_chosen for one in made.confidences)
        has_fields = has_all_fields or is_asked or bool(is_used)
        return replace(made, has_fields=has_fields, is_asked=is_asked, query=query or {})

    return LabelingView(
        source=source,
        trajectory_id=trajectory.id,
        annotator=annotator,
        num_steps=len(trajectory.steps),
        num_decided=sum(label.type is not None for label in labels.values()),
        num_critical=sum(label.is_critical for label in labels.values()),
        is_finished=is_finished,
        is_hidden=is_hidden,
        steps=tuple(map(controls, range(len(trajectory.steps)))),
        query=query or {},
    )


def choices_for(chosen: LabelType | None) -> tuple[LabelChoice, ...]:
    """All choices for a step. The space key takes the step out of the critical ones, or into."""
    is_critical = chosen not in (None, "none")
    keys: dict[LabelType, str] = {
        "none" if is_critical else "critical": "space",
        **{kind: str(place) for place, kind in enumerate(CRITICAL_KINDS, start=1)},
    }
    shown = {**keys, "none": "space", "critical": "space"}
    return tuple(
        LabelChoice(value, name, keys.get(value, ""), shown.get(value, ""), value == chosen)
        for value, name in TYPE_NAMES.items()
    )


def _step(
    source: str, id_: str, step: int, label: StepLabel | None, others: Iterable[Labeling]
) -> StepLabeling:
    confidence = None if label is None else label.confidence
    return StepLabeling(
        source=source,
        trajectory_id=id_,
        step=step,
        choices=choices_for(None if label is None else label.type),
        confidences=tuple(
            Confidence(value, name, value == confidence) for value, name in CONFIDENCES
        ),
        reason=(label and label.reason) or "",
        evidence=(label and label.evidence) or "",
        saved="" if label is None else f"saved by {label.annotator} at {clock(label.time)}",
        others=tuple(said for one in others if (said := _said_by(one, step)) is not None),
    )


def _said_by(other: Labeling, step: int) -> SaidByOther | None:
    """What another person says; who has finished says "not critical" without a label, too."""
    label = other.labels.get(step)
    type_: LabelType | None = "none" if other.is_finished else None
    if label is not None and label.type is not None:
        type_ = label.type
    if type_ is None:
        return None
    return SaidByOther(other.annotator, TYPE_NAMES[type_], (label and label.reason) or "")


def clock(time: str) -> str:
    """A time of an edit to the second: `2026-11-30 15:54:47 UTC`."""
    return f"{time[:10]} {time[11:19]} UTC"
