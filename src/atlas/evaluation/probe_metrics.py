"""Outcomes of a probe -> success before and after the probed steps, and the gain of a step.

The unit is the trajectory: its steps share a task, so they do not count as independent. A step
after which the episode was over has no "after" and is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from atlas.records import CriticalKind, Record
from atlas.statistics.checkpoint_difference import checkpoint_difference
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval

# Below this number of trajectories no interval is given.
MIN_UNITS = 10


class Gain(Record):
    """Success after minus success before; `p_value` is of no difference, by flipping signs."""

    difference: Estimate
    p_value: float | None = None
    num_trajectories: int = 0


class ProbedSteps(Record):
    """Figures of one set of steps, such as the selected ones.

    `before` and `after` are success rates of the model that takes over right before and right after
    a step: means over trajectories of the means over their steps. `num_ended` steps ended the
    episode, `num_broken` could not be probed; both are left out.
    """

    num_steps: int
    num_ended: int
    num_broken: int
    num_trajectories: int
    before: Estimate
    after: Estimate
    gain: Gain


class ProbeMetrics(Record):
    """The figures of a probe, as in Table 6 of the paper (arXiv 2503.02197).

    `selected_minus_control` is the gain of a selected step minus that of a step drawn at random
    from those that were not selected, over the trajectories that have both.
    """

    selected: ProbedSteps
    control: ProbedSteps | None = None
    selected_minus_control: Gain | None = None
    kinds: dict[str, ProbedSteps] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProbedStep:
    """One probed step and the success rates on both sides of it.

    Attributes:
        before: the share of successful rollouts from the state before the step; None: all broke.
        after: the same for the state after it.
        is_ended: the episode was over after the step.
    """

    trajectory_id: str
    index: int
    is_selected: bool
    kinds: tuple[CriticalKind, ...] = ()
    before: float | None = None
    after: float | None = None
    is_ended: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether both sides were played."""
        return not self.is_ended and self.before is not None and self.after is not None


def measure_probe(steps: Sequence[ProbedStep], seed: int) -> ProbeMetrics:
    """The figures of all probed steps."""
    selected = [step for step in steps if step.is_selected]
    others = [step for step in steps if not step.is_selected]
    kinds = sorted({kind for step in selected for kind in step.kinds})
    return ProbeMetrics(
        selected=_measure(selected, seed),
        control=_measure(others, seed) if others else None,
        selected_minus_control=_compare(selected, others) if others else None,
        kinds={
            kind: _measure([step for step in selected if kind in step.kinds], seed)
            for kind in kinds
        },
    )


def _measure(steps: Sequence[ProbedStep], seed: int) -> ProbedSteps:
    measured = [step for step in steps if step.is_measured]
    before = _means((step.trajectory_id, step.before) for step in measured)
    after = _means((step.trajectory_id, step.after) for step in measured)
    num_ended = sum(step.is_ended for step in steps)
    return ProbedSteps(
        num_steps=len(measured),
        num_ended=num_ended,
        num_broken=len(steps) - len(measured) - num_ended,
        num_trajectories=len(before),
        before=_estimate(list(before.values()), seed),
        after=_estimate(list(after.values()), seed),
        gain=_difference(after, before),
    )


def _compare(selected: Sequence[ProbedStep], others: Sequence[ProbedStep]) -> Gain:
    of_selected, of_others = (
        _means(
            (step.trajectory_id, step.after - step.before)
            for step in steps
            if step.is_measured and step.after is not None and step.before is not None
        )
        for steps in (selected, others)
    )
    return _difference(of_selected, of_others)


def _means(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """The mean of each trajectory."""
    of: dict[str, list[float]] = {}
    for name, value in values:
        assert value is not None
        of.setdefault(name, []).append(value)
    return {name: sum(each) / len(each) for name, each in of.items()}


def _difference(a: Mapping[str, float], b: Mapping[str, float]) -> Gain:
    both = [name for name in a if name in b]
    if not both:
        return Gain(difference=Estimate())
    found = checkpoint_difference([a[name] for name in both], [b[name] for name in both])
    if len(both) < MIN_UNITS:
        return Gain(difference=Estimate(value=found.difference.value), num_trajectories=len(both))
    return Gain(
        difference=found.difference, p_value=found.p_exact, num_trajectories=found.num_tasks
    )


def _estimate(values: Sequence[float], seed: int) -> Estimate:
    if len(values) < MIN_UNITS:
        return Estimate(value=sum(values) / len(values) if values else None)
    return bootstrap_interval(values, seed)
