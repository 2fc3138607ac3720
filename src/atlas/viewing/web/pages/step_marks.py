"""Selections beside the steps: `selections + labels -> columns of marks, disagreements`.

A column is what one selector, one person or the source of the trajectory says. Two columns disagree
about a step if only one of them holds it critical, or if both do for different kinds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from atlas.presenting.wording import KIND_LABELS
from atlas.records import CRITICAL_KINDS, CriticalKind, LabelType, Step
from atlas.terminal.visible_text import one_line
from atlas.viewing.web.rows import NamedSelection

MAX_NAME, MAX_REASON = 60, 2000
ColumnKind = Literal["source", "selection", "person"]


class GivenLabel(Protocol):
    """What a person says about a step; None as type takes an earlier label back."""

    @property
    def step(self) -> int: ...
    @property
    def type(self) -> LabelType | None: ...
    @property
    def annotator(self) -> str: ...
    @property
    def reason(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class MarkView:
    """What a column says about a step.

    `level` is the place of the score among those of its column, from 0 to 5. `is_decided` is false
    for a step that a person has not labeled yet.
    """

    is_critical: bool = False
    is_decided: bool = True
    kinds: tuple[CriticalKind, ...] = ()
    reason: str = ""
    score: str = ""
    level: int | None = None

    @property
    def kind_names(self) -> tuple[str, ...]:
        """The kinds in words; "critical" for a critical step without one."""
        if not self.is_critical:
            return ()
        return tuple(KIND_LABELS[kind] for kind in self.kinds) or ("critical",)


@dataclass(frozen=True, slots=True)
class ColumnView:
    """One voice beside the steps, with a mark for each step.

    `problem` is the reason why it says nothing.
    """

    name: str
    detail: str
    kind: ColumnKind
    marks: tuple[MarkView, ...]
    problem: str = ""

    @property
    def indices(self) -> frozenset[int]:
        return frozenset(index for index, mark in enumerate(self.marks) if mark.is_critical)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A step about which the columns disagree, and how, in words."""

    index: int
    reason: str
    is_about_kinds: bool


def view_columns(
    steps: Sequence[Step],
    selections: Iterable[NamedSelection],
    labels: Iterable[GivenLabel],
    finished: Collection[str] = (),
) -> tuple[ColumnView, ...]:
    """The columns: the source's own marks, then selections, then people by name.

    For who is in `finished`, a step without a label is not critical.
    """
    num = len(steps)
    people: dict[str, list[GivenLabel]] = {name: [] for name in finished}
    for label in labels:
        if label.type is not None and label.step < num:
            people.setdefault(label.annotator, []).append(label)
    return (
        *_of_source(steps),
        *(_of_selection(named, num) for named in selections),
        *(_of_person(name, given, num, name in finished) for name, given in sorted(people.items())),
    )


def find_disagreements(columns: Sequence[ColumnView]) -> tuple[Disagreement, ...]:
    """The steps about which columns disagree: those that split them most evenly first."""
    voices = [column for column in columns if not column.problem]
    found: list[tuple[tuple[bool, float, int], Disagreement]] = []
    for index in range(max((len(column.marks) for column in voices), default=0)):
        marks = [mark for column in voices if (mark := column.marks[index]).is_decided]
        critical = [mark for mark in marks if mark.is_critical]
        if 0 < len(critical) < len(marks):
            reason = f"critical for {len(critical)} of {len(marks)}"
            evenness = abs(0.5 - len(critical) / len(marks))
            found.append(((False, evenness, index), Disagreement(index, reason, False)))
        elif critical and _kinds_differ(critical):
            found.append(((True, 0, index), Disagreement(index, "the kinds differ", True)))
    return tuple(disagreement for _, disagreement in sorted(found, key=lambda each: each[0]))


def sort_kinds(kinds: Iterable[CriticalKind]) -> tuple[CriticalKind, ...]:
    """The kinds without repetition, in the order of the paper."""
    given = frozenset(kinds)
    return tuple(kind for kind in CRITICAL_KINDS if kind in given)


def _kinds_differ(marks: Sequence[MarkView]) -> bool:
    given = [frozenset(mark.kinds) for mark in marks if mark.kinds]
    return any(not first & second for first in given for second in given)


def _of_source(steps: Sequence[Step]) -> tuple[ColumnView, ...]:
    if not any(step.annotation and step.annotation.is_marked for step in steps):
        return ()
    scores = [step.annotation.score if step.annotation else None for step in steps]
    levels = _levels(scores)
    marks = tuple(
        MarkView(
            is_critical=annotation.is_marked,
            kinds=sort_kinds(annotation.kinds),
            score=_score(annotation.score),
            level=level,
        )
        if (annotation := step.annotation)
        else MarkView()
        for step, level in zip(steps, levels, strict=True)
    )
    num = sum(mark.is_critical for mark in marks)
    return (ColumnView("in the source", f"{num} of {len(steps)} steps", "source", marks),)


def _of_selection(named: NamedSelection, num_steps: int) -> ColumnView:
    selection = named.selection
    chosen = {step.index: step for step in selection.critical_steps}
    given = named.scores if named.scores and len(named.scores) == num_steps else None
    scores = [
        step.score
        if (step := chosen.get(index)) and step.score is not None
        # A step that was not chosen has a score if its selector scores all.
        else (given[index] if given else None)
        for index in range(num_steps)
    ]
    marks = tuple(
        MarkView(
            is_critical=step is not None,
            kinds=sort_kinds(step.kinds) if step else (),
            reason=one_line(step.reason or "", MAX_REASON) if step else "",
            score=_score(scores[index]),
            level=level,
        )
        for index, level in enumerate(_levels(scores))
        for step in [chosen.get(index)]
    )
    num = len(chosen)
    budget = f", budget {selection.budget}" if selection.budget != num else ""
    return ColumnView(
        name=one_line(named.name, MAX_NAME),
        detail=f"{num} of {num_steps} steps{budget}",
        kind="selection",
        marks=marks,
        problem=one_line(selection.problem or "", MAX_REASON),
    )


def _of_person(
    name: str, labels: Sequence[GivenLabel], num_steps: int, is_finished: bool
) -> ColumnView:
    marks = [MarkView(is_decided=is_finished)] * num_steps
    for label in labels:
        if label.type == "none":
            reason = one_line(label.reason or "", MAX_REASON)
            marks[label.step] = MarkView(reason=reason)
            continue
        earlier = marks[label.step]
        kinds = sort_kinds(
            [*earlier.kinds, *(kind for kind in CRITICAL_KINDS if kind == label.type)]
        )
        reason = one_line(label.reason or "", MAX_REASON) or earlier.reason
        marks[label.step] = MarkView(True, True, kinds, reason)
    num = sum(mark.is_critical for mark in marks)
    detail = f"{num} of {num_steps} steps"
    if not is_finished:
        detail += f", {sum(mark.is_decided for mark in marks)} labeled so far"
    return ColumnView(one_line(name, MAX_NAME), detail, "person", tuple(marks))


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.3g}"


def _levels(scores: Sequence[float | None]) -> list[int | None]:
    """Each score as a level from 0 to 5, if all levels are finite and not all the same."""
    finite = [score for score in scores if score is not None and abs(score) < 1e300]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    if high <= low:
        return [None] * len(scores)
    return [
        None
        if score is None or abs(score) >= 1e300 or score != score
        else round(5 * (score - low) / (high - low))
        for score in scores
    ]
