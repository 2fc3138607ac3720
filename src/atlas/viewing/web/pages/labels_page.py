"""The page of all labels: `labels -> who labeled what, when, and how far people agree`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.presenting.wording import decimal, decimal_interval, percent, percent_interval
from atlas.viewing.web.labels.edits import Edit, Labeling, PersonsTrajectory
from atlas.viewing.web.pages.labeling_view import TYPE_NAMES, clock
from atlas.viewing.web.sources import ShownRun

if TYPE_CHECKING:
    from atlas.viewing.web.labels.annotator_agreement import AnnotatorPair

ACTIONS = {"finish": "finished", "reopen": "opened again", "undo": "undid"}


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One annotator and what they labeled."""

    annotator: str
    num_trajectories: int
    num_finished: int
    num_critical: int
    num_not_critical: int
    kinds: str


@dataclass(frozen=True, slots=True)
class PairRow:
    """How far two annotators agree."""

    first: str
    second: str
    num_tasks: int
    num_trajectories: int
    num_steps: int
    same: str
    same_interval: str
    kappa: str
    kappa_interval: str


@dataclass(frozen=True, slots=True)
class EditRow:
    """One line of the history."""

    time: str
    annotator: str
    trajectory_id: str
    step: int | None
    said: str
    reason: str


@dataclass(frozen=True, slots=True)
class LabelsView:
    """All that the page of labels shows."""

    people: tuple[PersonRow, ...]
    pairs: tuple[PairRow, ...]
    history: tuple[EditRow, ...]
    sources: tuple[ShownRun, ...]
    num_unfinished: int
    path: str

    @property
    def has_intervals(self) -> bool:
        return any(pair.kappa_interval for pair in self.pairs)


def describe_labels(
    labelings: Sequence[Labeling],
    trajectories: Mapping[str, PersonsTrajectory],
    pairs: Sequence[AnnotatorPair],
    history: Sequence[Edit],
    sources: Sequence[ShownRun],
    path: str,
) -> LabelsView:
    """What the page of labels shows; `trajectories` are by digest."""
    by_person: dict[str, list[Labeling]] = {}
    for one in labelings:
        by_person.setdefault(one.annotator, []).append(one)
    return LabelsView(
        people=tuple(
            _person(annotator, found, trajectories)
            for annotator, found in sorted(by_person.items())
        ),
        pairs=tuple(map(_pair, pairs)),
        history=tuple(map(_edit, history)),
        sources=tuple(source for source in sources if source.kind == "trajectories"),
        num_unfinished=sum(not one.is_finished for one in labelings),
        path=path,
    )


def _person(
    annotator: str, labelings: Sequence[Labeling], trajectories: Mapping[str, PersonsTrajectory]
) -> PersonRow:
    critical = [label for one in labelings for label in one.labels.values() if label.is_critical]
    kinds = Counter(TYPE_NAMES[label.type] for label in critical if label.type is not None)
    num_none = sum(
        trajectories[one.digest].num_steps - len(one.critical)
        if one.is_finished
        else len(one.decided - one.critical)
        for one in labelings
    )
    return PersonRow(
        annotator=annotator,
        num_trajectories=len(labelings),
        num_finished=sum(one.is_finished for one in labelings),
        num_critical=len(critical),
        num_not_critical=num_none,
        kinds=", ".join(f"{name} {count}" for name, count in kinds.most_common()),
    )


def _pair(pair: AnnotatorPair) -> PairRow:
    agreement = pair.agreement
    return PairRow(
        first=pair.first,
        second=pair.second,
        num_tasks=agreement.num_units,
        num_trajectories=agreement.num_trajectories,
        num_steps=agreement.num_steps,
        same=percent(pair.same),
        same_interval=percent_interval(pair.same),
        kappa=decimal(agreement.kappa, 2),
        kappa_interval=decimal_interval(agreement.kappa, 2),
    )


def _edit(edit: Edit) -> EditRow:
    said = ACTIONS.get(edit.action, "")
    if edit.action == "label":
        said = "took the label back" if edit.type is None else TYPE_NAMES[edit.type]
        if edit.type is None and edit.reason:
            said = "remark"
    return EditRow(
        time=clock(edit.time),
        annotator=edit.annotator,
        trajectory_id=edit.trajectory_id,
        step=edit.step,
        said=said,
        reason=edit.reason or "",
    )
