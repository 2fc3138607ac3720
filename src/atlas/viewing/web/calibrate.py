"""Calibrate: `a selection + a person who does not see it -> whether it can be trusted here`.

Half of the drawn steps are selected, so that an answer by chance, or the same answer to all, agrees
on half of them, whatever the budget: kappa is then 2 * agreement - 1. The interval is Wilson's,
with tasks as trials. It is too wide rather than too narrow where several steps share a task.

The rule: a selector is fit to be trusted if the whole interval of kappa is at or above 0.4, the
beginning of "moderate" agreement (Landis and Koch 1977); it is not fit if the whole interval is
below. Otherwise the answers do not decide. The limits of the rule: one person is not the truth, and
two careful people rarely exceed 0.6 on such questions; it is about these runs only; and it says
nothing about how much a model learns from the steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from atlas.errors import DataError
from atlas.records import CRITICAL_KINDS, NO_KIND, CriticalKind, Selection
from atlas.statistics.estimate import Estimate
from atlas.viewing.web.labels.answers import Answer, Place

NUM_STEPS = 50
# Below this number, the interval of kappa is wider than 0.8 whatever the answers are.
FEWEST_STEPS = 10
FIT_KAPPA = 0.4


@dataclass(frozen=True, slots=True)
class DrawnStep:
    """A step of a calibration; the person does not see whether it is selected, and as what."""

    trajectory_id: str
    step: int
    is_selected: bool
    kinds: tuple[CriticalKind, ...] = ()

    @property
    def place(self) -> Place:
        return self.trajectory_id, self.step


@dataclass(frozen=True, slots=True)
class Calibration:
    """The drawn steps in the order in which they are shown. `id` is a digest of what is asked."""

    id: str
    selector: str
    steps: tuple[DrawnStep, ...]


@dataclass(frozen=True, slots=True)
class KindResult:
    """Steps that the selector calls one kind: how many the person calls critical, and the same."""

    kind: str
    num_steps: int
    num_critical: int
    num_same_kind: int
    critical: Estimate


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """The agreement of a person with a selector on all drawn steps.

    Attributes:
        same: the share of steps that both call critical, or both do not.
        is_fit: None if the answers do not decide.
    """

    annotator: str
    selector: str
    num_steps: int
    num_tasks: int
    num_same: int
    num_selected_only: int
    num_person_only: int
    same: Estimate
    kappa: Estimate
    by_kind: tuple[KindResult, ...]
    is_fit: bool | None

    @property
    def sentence(self) -> str:
        """Whether the selector can be trusted here, in one sentence."""
        agrees = (
            f"{self.annotator} agrees with it on {self.num_same} of {self.num_steps} steps, kappa "
            f"{_shown(self.kappa)}"
        )
        if self.is_fit:
            return (
                f"The selector '{self.selector}' is fit to be trusted here: {agrees}, and the "
                f"whole interval is at or above {FIT_KAPPA}."
            )
        if self.is_fit is False:
            return (
                f"The selector '{self.selector}' is not fit to be trusted here: {agrees}, and the "
                f"whole interval is below {FIT_KAPPA}."
            )
        return (
            f"These answers do not decide whether the selector '{self.selector}' is fit to be "
            f"trusted here: {agrees}, and {FIT_KAPPA} lies within the interval."
        )


def draw_steps(
    selections: Iterable[Selection], num_steps: int = NUM_STEPS, seed: int = 0
) -> Calibration:
    """Draw steps, half of them selected, spread over as many trajectories as possible.

    The draw depends on the seed and the ids, not on the order of the selections. Where fewer
    steps are selected, or are not, fewer are drawn of both.

    Raises:
        DataError: the selections have too few steps of one of the two.
    """
    usable = [one for one in selections if one.problem is None]
    usable.sort(key=lambda one: _lot(seed, one.trajectory_id))
    selected = [(one, sorted(one.indices)) for one in usable]
    # Trajectories that gave no selected step come first.
    others = [
        (one, [step for step in range(one.num_steps) if step not in one.indices])
        for one in reversed(usable)
    ]
    num_selected, num_others = (sum(len(steps) for _, steps in of) for of in (selected, others))
    half = min(num_steps // 2, num_selected, num_others)
    if 2 * half < FEWEST_STEPS:
        raise DataError(
            f"{num_selected:,} steps are selected and {num_others:,} are not, expected at least "
            f"{FEWEST_STEPS // 2} of both. Calibrate another selection."
        )
    drawn = [*_take(selected, half, seed), *_take(others, half, seed)]
    drawn.sort(key=lambda step: _lot(seed, "order", *step.place))
    content = json.dumps([(step.place, step.is_selected) for step in drawn])
    return Calibration(
        id=hashlib.sha256(content.encode()).hexdigest(),
        selector=usable[0].selector,
        steps=tuple(drawn),
    )


def measure_calibration(
    calibration: Calibration,
    answers: Mapping[Place, Answer],
    tasks: Mapping[str, str],
    annotator: str,
) -> CalibrationResult:
    """Compare the answers with the selector; `tasks` are by trajectory id.

    Raises:
        DataError: a step has no answer yet. A part of the answers would show what is still asked.
    """
    steps = calibration.steps
    if left := sum(step.place not in answers for step in steps):
        raise DataError(
            f"{left} of {len(steps)} steps have no answer by {annotator} yet, expected all of "
            "them. Answer the rest first."
        )
    said = [(step, answers[step.place]) for step in steps]
    num_same = sum(step.is_selected == answer.is_critical for step, answer in said)
    num_tasks = len({tasks[step.trajectory_id] for step in steps})
    rate = num_same / len(steps)
    same = _wilson(rate, num_tasks)
    kappa = _kappa(same)
    assert kappa.limits is not None
    low, high = kappa.limits
    return CalibrationResult(
        annotator=annotator,
        selector=calibration.selector,
        num_steps=len(steps),
        num_tasks=num_tasks,
        num_same=num_same,
        num_selected_only=sum(step.is_selected and not one.is_critical for step, one in said),
        num_person_only=sum(one.is_critical and not step.is_selected for step, one in said),
        same=same,
        kappa=kappa,
        by_kind=tuple(_by_kind(said, tasks)),
        is_fit=True if low >= FIT_KAPPA else False if high < FIT_KAPPA else None,
    )


def _take(
    steps_of: Sequence[tuple[Selection, list[int]]], count: int, seed: int
) -> Iterable[DrawnStep]:
    """One step of each trajectory in turn, then a second one of each, until there are enough."""
    left = [
        (one, sorted(steps, key=lambda step: _lot(seed, one.trajectory_id, step)))
        for one, steps in steps_of
        if steps
    ]
    taken = 0
    for turn in range(max((len(steps) for _, steps in left), default=0)):
        for one, steps in left:
            if turn < len(steps) and taken < count:
                taken += 1
                kinds = {step.index: step.kinds for step in one.critical_steps}
                index = steps[turn]
                yield DrawnStep(one.trajectory_id, index, index in kinds, kinds.get(index, ()))


def _by_kind(
    said: Sequence[tuple[DrawnStep, Answer]], tasks: Mapping[str, str]
) -> Iterable[KindResult]:
    for kind in (*CRITICAL_KINDS, NO_KIND):
        of_kind = [
            (step, answer)
            for step, answer in said
            if step.is_selected and kind in (step.kinds or (NO_KIND,))
        ]
        if not of_kind:
            continue
        num_critical = sum(answer.is_critical for _, answer in of_kind)
        num_tasks = len({tasks[step.trajectory_id] for step, _ in of_kind})
        yield KindResult(
            kind=kind,
            num_steps=len(of_kind),
            num_critical=num_critical,
            num_same_kind=sum(answer.type == kind for _, answer in of_kind),
            critical=_wilson(num_critical / len(of_kind), num_tasks),
        )


def _wilson(rate: float, num_tasks: int) -> Estimate:
    # Statistics import NumPy, which a viewer that only shows runs does not need.
    from atlas.statistics.intervals import wilson_interval

    return wilson_interval(rate * num_tasks, num_tasks)


def _kappa(same: Estimate) -> Estimate:
    """Cohen's kappa where half of the steps are selected: agreement by chance is then a half."""
    value, low, high = (
        None if share is None else round(2 * share - 1, 6)
        for share in (same.value, same.low, same.high)
    )
    return Estimate(value=value, low=low, high=high)


def _shown(kappa: Estimate) -> str:
    low, high = kappa.limits or (0.0, 0.0)
    return f"{kappa.value or 0:.2f} [{low:.2f}, {high:.2f}]"


def _lot(seed: int, *what: object) -> bytes:
    """A place in a random order that depends only on the seed and on what is drawn."""
    return hashlib.sha256(json.dumps([seed, *what]).encode()).digest()
