"""Two trained arms on the same tasks -> the difference of the methods.

Tasks and training runs are crossed: each run plays all tasks. The variance of the difference has a
part from the drawing of tasks and a part from the drawing of training runs. The part of the runs is
estimated over all arms together, because a single arm has few of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import TINY, Floats, check_confidence
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs
from atlas.statistics.run_pairs import compare_pair, degrees_of, mean_share
from atlas.statistics.student_t import t_of_p_value, t_p_value, t_quantile
from atlas.statistics.task_differences import (
    Ints,
    TaskDifferences,
    limits_of,
    number_strata,
    pair_tasks,
    run_share,
    stratum_weights,
)

# Arms share an estimate of the variance between seeds if their rates let it differ by less.
MOST_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class ArmSeeds:
    """What the runs of one arm say about the variance between seeds.

    Attributes:
        scale: how large the variance is at the arm's rate, relative to other rates. A shift of an
            agent's ability moves a rate near 0 or 1 less than one near 0.5.
    """

    variance: float
    noise: float
    degrees: int
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class SeedVariance:
    """How much the mean of a training run varies between seeds.

    Attributes:
        variance: the variance of the means of runs, S.
        noise: the part of S that comes from the tasks (a run solves this one and not that one), E.
        degrees: the degrees of freedom of S, f: runs minus arms.
        arms: the arms that S was pooled from.
    """

    variance: float
    noise: float
    degrees: int
    arms: tuple[ArmSeeds, ...] = ()

    @property
    def seed_sd(self) -> float:
        """The standard deviation of a run's true mean between seeds."""
        return math.sqrt(max(0.0, self.variance - self.noise))

    def near(self, scale: float) -> SeedVariance | None:
        """The variance at a rate of this scale, from the arms with a similar rate.

        Without such an arm it is borrowed from those with rates nearer to 0.5, which errs to the
        wide side, or else from all others in proportion. None if those are all at 0 or at 1.
        """
        if not self.arms:
            return self
        similar = [
            arm for arm in self.arms if scale <= MOST_RATIO * arm.scale <= MOST_RATIO**2 * scale
        ]
        if similar:
            return _pool([_rescale(arm, scale) for arm in similar])
        if wider := [arm for arm in self.arms if arm.scale > scale]:
            return _pool(wider)
        known = [_rescale(arm, scale) for arm in self.arms if arm.scale > 0]
        return _pool(known) if known else None


@dataclass(frozen=True, slots=True)
class CrossedDifference:
    """Method a minus method b over the tasks that both played.

    Attributes:
        difference: the value with its interval.
        p_value: of no difference; None without an interval.
        variance: of the value.
        degrees: of freedom of the t distribution.
        seed_sd: the standard deviation between seeds that the interval contains.
        num_higher: tasks on which a is higher (means over runs).
    """

    difference: Estimate
    p_value: float | None = None
    variance: float | None = None
    degrees: float | None = None
    seed_sd: float | None = None
    num_tasks: int = 0
    num_higher: int = 0
    num_lower: int = 0
    num_tied: int = 0


def estimate_seed_variance(
    arms: Sequence[ArrayLike], strata: Sequence[int] | None = None
) -> SeedVariance | None:
    """The variance between training seeds, pooled over all arms with several runs.

    Args:
        arms: the trained arms [R, T] each, on the same tasks. Arms with one run are left out.
        strata: one integer per task; strata count alike.

    Returns:
        None if no arm has several runs.
    """
    found = []
    for arm in arms:
        values = as_runs(arm)
        own = _seeds_of(values, number_strata(strata, values.shape[1]))
        found += [own] if own is not None else []
    return _pool(found) if found else None


def crossed_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    strata: Sequence[int] | None = None,
    seeds: SeedVariance | None,
    trained: tuple[bool, bool] = (True, True),
    assumed_seed_sd: float | None = None,
    confidence: float = 0.95,
    over_strata: bool = False,
) -> CrossedDifference:
    """The difference of two methods with the variance of tasks and of training runs.

    With A the variance from the tasks, S that between the means of runs and E the noise of tasks
    in S, U = A + h (S - E) is unbiased, but may be below A and below h S. Each of these is a bound
    that only one kind of noise lets it pass, so the variance is the mean of max(A, U) and
    max(h S, U). Degrees of freedom are Satterthwaite's. `benchmarks/report_statistics.py` prints
    the coverage.

    Args:
        a: [R, T] or [T], a row per training run.
        b: the same tasks in the same order.
        strata: one integer per task; strata count alike.
        seeds: the variance between seeds, from `estimate_seed_variance`.
        trained: whether each arm was trained. An untuned model has no variance between seeds.
        assumed_seed_sd: a standard deviation between seeds that is taken as known, instead of
            `seeds`.
        over_strata: whether the strata are a sample of others, so that their means vary, and not
            the tasks within them.

    Raises:
        ValueError: a trained arm, but neither `seeds` nor `assumed_seed_sd`, or both.
    """
    check_confidence(confidence)
    if any(trained) and (seeds is None) == (assumed_seed_sd is None):
        raise ValueError(
            "a difference of methods needs either `seeds` or `assumed_seed_sd`; for two "
            "checkpoints only, use checkpoint_difference"
        )
    if assumed_seed_sd is not None and not 0 <= assumed_seed_sd < math.inf:
        raise ValueError(f"seed SD {assumed_seed_sd}: expected a share from 0, such as 0.035")
    tasks = pair_tasks(a, b, strata)
    found = tasks.mean
    if found is None:
        return CrossedDifference(Estimate())
    higher, lower, tied = tasks.counts
    result = CrossedDifference(
        difference=Estimate(value=found),
        num_tasks=tasks.each.size,
        num_higher=higher,
        num_lower=lower,
        num_tied=tied,
    )
    of_tasks = tasks.over_strata if over_strata else (tasks.variance, tasks.degrees)
    spread = _spread(tasks, of_tasks, trained, seeds, assumed_seed_sd)
    if spread is None:
        return result
    variance, degrees, seed_sd = spread
    p_value = t_p_value(found / math.sqrt(variance), degrees)
    # No test of k tasks that differ can give less, if flipping their signs changes nothing.
    least = 2.0 ** (1 - higher - lower)
    if p_value < least < 1:
        variance, p_value = (found / t_of_p_value(least, degrees)) ** 2, least
    return replace(
        result,
        difference=limits_of(tasks, found, t_quantile(confidence, degrees) * math.sqrt(variance)),
        p_value=p_value,
        variance=variance,
        degrees=degrees,
        seed_sd=seed_sd,
    )


def seeds_near(
    seeds: SeedVariance, arms: Sequence[ArrayLike], weights: Floats
) -> SeedVariance | None:
    """The variance between seeds at the rates of these arms; None if it is not known at one.

    Args:
        arms: the trained arms of a comparison, [R, T] each.
        weights: the weight of each task [T].
    """
    found = []
    for arm in arms:
        near = seeds.near(_scale(as_runs(arm), weights))
        if near is None:
            return None
        found.append(near)
    if not found:
        return None
    return SeedVariance(
        variance=sum(one.variance for one in found) / len(found),
        noise=sum(one.noise for one in found) / len(found),
        # Both may be the same estimate.
        degrees=min(one.degrees for one in found),
    )


def _spread(
    tasks: TaskDifferences,
    drawn: tuple[float, float],
    trained: tuple[bool, bool],
    seeds: SeedVariance | None,
    assumed_seed_sd: float | None,
) -> tuple[float, float, float | None] | None:
    """The variance of the difference, its degrees of freedom and the SD of seeds in it.

    None where it is not known.

    Args:
        drawn: the same of the drawing of tasks only.
    """
    of_tasks, degrees = drawn
    if math.isinf(of_tasks):
        return None
    of_tasks = max(of_tasks, tasks.least_variance)
    arms = [arm for arm, is_trained in zip((tasks.a, tasks.b), trained, strict=True) if is_trained]
    error = of_tasks**2 / degrees
    if assumed_seed_sd is not None:
        shares = sum(run_share(arm, tasks.weights) for arm in arms)
        variance = of_tasks + shares * assumed_seed_sd**2
        return variance, variance**2 / error, assumed_seed_sd
    if seeds is None:
        return of_tasks, degrees, None
    runs = noise = shares = 0.0
    errors = []
    for arm in arms:
        near = seeds.near(_scale(arm, tasks.weights))
        if near is None:
            return None
        share = run_share(arm, tasks.weights)
        shares += share
        runs += near.variance * share
        noise += near.noise * share
        errors.append(near.variance * share / math.sqrt(near.degrees))
    unbiased = of_tasks + runs - noise
    variance = (max(of_tasks, unbiased) + max(runs, unbiased)) / 2
    # Both arms may use the same estimate, so their errors do not cancel.
    seed_sd = math.sqrt(max(0.0, runs - noise) / shares) if shares else None
    return variance, variance**2 / (error + sum(errors) ** 2), seed_sd


def _pool(arms: Sequence[ArmSeeds]) -> SeedVariance:
    degrees = sum(arm.degrees for arm in arms)
    return SeedVariance(
        variance=sum(arm.degrees * arm.variance for arm in arms) / degrees,
        noise=sum(arm.degrees * arm.noise for arm in arms) / degrees,
        degrees=degrees,
        arms=tuple(arms),
    )


def _rescale(arm: ArmSeeds, scale: float) -> ArmSeeds:
    ratio = scale / arm.scale if arm.scale else 1.0
    return ArmSeeds(arm.variance * ratio, arm.noise * ratio, arm.degrees, scale)


def _scale(runs: Floats, weights: Floats) -> float:
    """How large the variance between seeds is at the rate of an arm, relative to other rates.

    The same shift of ability (SD u of a normal trait) gives rates with an SD of phi(z) u, where z
    is the normal quantile of the rate. Scores outside [0, 1] have no such limits.
    """
    if np.nanmin(runs) < 0 or np.nanmax(runs) > 1:
        return 1.0
    valid = ~np.isnan(runs) * weights
    rate = float((np.where(np.isnan(runs), 0.0, runs) * weights).sum() / valid.sum())
    if not TINY < rate < 1 - TINY:
        return 0.0
    normal = NormalDist()
    return normal.pdf(normal.inv_cdf(rate)) ** 2


def _seeds_of(values: Floats, strata: Ints) -> ArmSeeds | None:
    """S and E of one arm [R, T]; None for a single run, and without a task that two runs played.

    Both are means over pairs of runs, each on the tasks that both played, weighted by their number:
    half the square of the difference of the means, and half the variance of the difference that its
    tasks explain. If every run played every task, S is the variance of the means of runs, and E the
    usual mean square within. If not, few tasks are common to all runs, but many to two.
    """
    valid = ~np.isnan(values)
    pairs = []
    for first, second in combinations(range(len(values)), 2):
        both = valid[first] & valid[second]
        if both.any():
            own = np.unique(strata[both], return_inverse=True)[1]
            pairs.append(compare_pair(first, second, values[:, both], own))
    # A pair whose tasks do not tell their noise says nothing, unless it is so with all.
    pairs = [pair for pair in pairs if pair.free > 0] or pairs
    if not pairs:
        return None
    weights = np.array([pair.num_tasks for pair in pairs], dtype=float)
    square = float(np.average([pair.square for pair in pairs], weights=weights))
    noise = float(np.average([pair.noise for pair in pairs], weights=weights))
    # A mean over all tasks of a run has less noise than one over those that two runs share.
    full = noise * mean_share(valid, strata, pairs, weights)
    return ArmSeeds(
        variance=max(square - noise + full, square * full / noise) if noise else square,
        noise=full,
        degrees=degrees_of(pairs, weights),
        scale=_scale(values, stratum_weights(strata)),
    )
