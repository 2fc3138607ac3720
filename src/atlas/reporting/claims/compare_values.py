"""Two arms on one scope -> their difference, and the p-values of what may be claimed of it.

A claim is about methods only if one of the arms has three different trainings or more: then the
noise of training is estimated and in the interval. With fewer it may be assumed (`seed_sd`), or
the claim is about the checkpoints that were played.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from atlas.reporting.report import ClaimKind
from atlas.statistics.bootstrap import Floats
from atlas.statistics.checkpoint_difference import checkpoint_difference
from atlas.statistics.crossed_difference import (
    SeedVariance,
    crossed_difference,
    estimate_seed_variance,
)
from atlas.statistics.estimate import Estimate
from atlas.statistics.group_difference import group_difference, group_seed_variance
from atlas.statistics.intervals import as_runs
from atlas.statistics.power import (
    MOST_COUNTED,
    detectable_by_signs,
    detectable_effect,
    detectable_on_tasks,
    is_too_few,
)
from atlas.statistics.student_t import t_p_value, t_quantile

# A claim about methods needs this many different trainings of one of its arms.
FEWEST_TRAININGS = 3


@dataclass(frozen=True, slots=True)
class ArmValues:
    """The values of one arm on the tasks of a scope [R, T].

    A run without any valid episode shows nothing and does not count. `shares_with` are the names of
    the arms that have a training in common with it.
    """

    name: str
    values: Floats
    is_trained: bool
    shares_with: frozenset[str] = frozenset()

    @property
    def num_runs(self) -> int:
        return len(as_runs(self.values))

    @property
    def num_trainings(self) -> int:
        """The trainings that played at least one of the tasks."""
        played = int((~np.isnan(as_runs(self.values))).any(axis=1).sum())
        return played if self.is_trained else 0


@dataclass(frozen=True, slots=True)
class ComparisonSettings:
    """How differences are tested.

    Attributes:
        strata: the stratum of each task; strata count alike.
        groups: the group of each task, if groups are the units.
        margin: as a rate.
        seed_sd: the assumed SD of seeds, as a rate.
    """

    strata: Sequence[int] | None
    groups: Sequence[int] | None
    margin: float | None
    seed_sd: float | None
    confidence: float


@dataclass(frozen=True, slots=True)
class ClaimTest:
    """The difference of two arms with the p-values of three hypotheses.

    Attributes:
        p_equal: of no difference.
        p_worse: that the arm is worse by the margin or more.
        p_better: that it is better by the margin or more.
        variance: of the difference; None where every task has the same difference.
        seed_sd: the SD of seeds that the interval contains, estimated or assumed.
        num_runs: the runs of the two arms that have a valid episode.
        over_groups: whether groups of tasks are the units.
    """

    claim: ClaimKind
    difference: Estimate
    p_equal: float | None = None
    p_worse: float | None = None
    p_better: float | None = None
    p_mid: float | None = None
    tipping_sd: float | None = None
    variance: float | None = None
    degrees: float = math.inf
    seed_sd: float | None = None
    num_tasks: int = 0
    counts: tuple[int, int, int] = (0, 0, 0)
    num_runs: tuple[int, int] = (1, 1)
    over_groups: bool = False

    @property
    def p_values(self) -> tuple[float | None, float | None, float | None]:
        return self.p_equal, self.p_worse, self.p_better

    def minimum_detectable(self, confidence: float) -> float | None:
        """The difference that is found in 80 % of such experiments at this confidence.

        1 or more if none is found, however large; None if it is not known.
        """
        if not self.variance:
            return None
        found = detectable_effect(self.variance, self.degrees, confidence)
        if not self.over_groups:
            found = max(found, self._detectable_on_tasks(found, confidence))
        return found if math.isfinite(found) else 1.0

    def _detectable_on_tasks(self, effect: float, confidence: float) -> float:
        """What the number of tasks lets be found, whatever the variance that was seen."""
        assert self.variance is not None
        if is_too_few(self.num_tasks, confidence):
            return math.inf
        if self.claim == "checkpoints" and self.num_tasks <= MOST_COUNTED:
            higher, lower, _ = self.counts
            return detectable_by_signs(
                self.num_tasks, (higher + lower) / self.num_tasks, confidence
            )
        return detectable_on_tasks(effect, self.variance, max(self.num_runs) * self.num_tasks)


def pooled_arms(arms: Sequence[ArmValues]) -> list[ArmValues]:
    """The arms whose trainings say how much seeds vary; those that share a training count once."""
    pooled: list[ArmValues] = []
    for arm in arms:
        if arm.num_trainings > 1 and not any(other.name in arm.shares_with for other in pooled):
            pooled.append(arm)
    return pooled


def seed_variance(pooled: Sequence[ArmValues], settings: ComparisonSettings) -> SeedVariance | None:
    """How much seeds vary, over all these arms."""
    values = [arm.values for arm in pooled]
    if settings.groups:
        return group_seed_variance(values, settings.groups)
    return estimate_seed_variance(values, settings.strata)


def compare_values(
    arm: ArmValues, against: ArmValues, arms: Sequence[ArmValues], settings: ComparisonSettings
) -> ClaimTest:
    """Test arm minus `against`.

    Args:
        arms: all arms of the report, of which some lend their noise of training.
    """
    pair = (arm, against)
    most = max(one.num_trainings for one in pair)
    seeds = seed_variance(pooled_arms(arms), settings) if most >= FEWEST_TRAININGS else None
    if seeds is not None:
        found = _test_methods("methods", arm, against, settings, seeds)
    elif settings.seed_sd is not None and most:
        found = _test_methods("assumed", arm, against, settings, None)
    else:
        found = _test_checkpoints(arm, against, settings)
    return replace(
        found,
        num_runs=(arm.num_runs, against.num_runs),
        over_groups=settings.groups is not None,
    )


def _test_methods(
    claim: ClaimKind,
    arm: ArmValues,
    against: ArmValues,
    settings: ComparisonSettings,
    seeds: SeedVariance | None,
) -> ClaimTest:
    noise: dict[str, Any] = {
        "seeds": seeds,
        "trained": (arm.is_trained, against.is_trained),
        "assumed_seed_sd": None if seeds else settings.seed_sd,
        "confidence": settings.confidence,
    }
    pair = (arm.values, against.values)
    found = (
        group_difference(*pair, settings.groups, **noise)
        if settings.groups
        else crossed_difference(*pair, strata=settings.strata, **noise)
    )
    if found.variance is None or found.degrees is None:
        # One task, few groups, or nothing that says how much seeds vary at these rates.
        return _test_checkpoints(arm, against, settings)
    p_worse = p_better = None
    if settings.margin is not None:
        error, value = math.sqrt(found.variance), found.difference.value or 0.0
        p_worse = _p_above((value + settings.margin) / error, found.degrees)
        p_better = _p_above((settings.margin - value) / error, found.degrees)
    return ClaimTest(
        claim,
        found.difference,
        found.p_value,
        p_worse,
        p_better,
        variance=found.variance,
        degrees=found.degrees,
        seed_sd=found.seed_sd,
        num_tasks=found.num_tasks,
        counts=(found.num_higher, found.num_lower, found.num_tied),
    )


def _test_checkpoints(
    arm: ArmValues, against: ArmValues, settings: ComparisonSettings
) -> ClaimTest:
    if settings.groups:
        return _test_groups(arm, against, settings, settings.groups)
    found = checkpoint_difference(
        arm.values,
        against.values,
        strata=settings.strata,
        trained=(arm.is_trained, against.is_trained),
        confidence=settings.confidence,
    )
    return ClaimTest(
        "checkpoints",
        found.difference,
        found.p_exact,
        p_mid=found.p_mid,
        tipping_sd=found.tipping_sd,
        variance=found.variance,
        num_tasks=found.num_tasks,
        counts=(found.num_higher, found.num_lower, found.num_tied),
    )


def _test_groups(
    arm: ArmValues, against: ArmValues, settings: ComparisonSettings, groups: Sequence[int]
) -> ClaimTest:
    """Two checkpoints on groups of tasks: with too few of them nothing is shown."""
    found = group_difference(arm.values, against.values, groups, confidence=settings.confidence)
    value, tipping = found.difference.value, None
    if value is not None and found.variance is not None and found.degrees is not None:
        limit = t_quantile(settings.confidence, found.degrees)
        left = max(0.0, (value / limit) ** 2 - found.variance)
        runs = sum(1 / one.num_trainings for one in (arm, against) if one.is_trained)
        tipping = math.sqrt(left / runs) if runs else None
    return ClaimTest(
        "checkpoints",
        found.difference,
        1.0 if found.num_tasks and found.p_value is None else found.p_value,
        tipping_sd=tipping,
        variance=found.variance,
        degrees=found.degrees or math.inf,
        num_tasks=found.num_tasks,
        counts=(found.num_higher, found.num_lower, found.num_tied),
    )


def _p_above(t: float, degrees: float) -> float:
    """Twice the one-sided p-value of a t that is expected above 0, at most 1.

    It is below 0.05 where the 95 % interval is on the right side.
    """
    return t_p_value(t, degrees) if t > 0 else 1.0
