"""Two trained arms on the same tasks -> the difference of the methods.

Tasks and training runs are crossed: each run plays all tasks. The variance of the difference has a
part from the drawing of tasks and a part from the drawing of training runs. The part of the runs is
estimated over all arms together, because a single arm has few of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import Floats, check_confidence
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs
from atlas.statistics.power import detectable_effect
from atlas.statistics.student_t import t_p_value, t_quantile
from atlas.statistics.task_differences import Ints, number_strata, pair_tasks, stratum_weights


@dataclass(frozen=True, slots=True)
class SeedVariance:
    """How much the mean of a training run varies between seeds.

    Attributes:
        variance: the variance of the means of runs, S.
        noise: the part of S that comes from the tasks (a run solves this one and not that one), E.
        degrees: the degrees of freedom of S, f: runs minus arms.
    """

    variance: float
    noise: float
    degrees: int

    @property
    def seed_sd(self) -> float:
        """The standard deviation of a run's true mean between seeds."""
        return math.sqrt(max(0.0, self.variance - self.noise))


@dataclass(frozen=True, slots=True)
class CrossedDifference:
    """Method a minus method b over the tasks that both played.

    Attributes:
        difference: the value with its interval.
        p_value: of no difference; None without an interval.
        variance: of the value.
        degrees: of freedom of the t distribution.
        num_higher: tasks on which a is higher (means over runs).
        minimum_detectable: the difference that a repetition would find with a power of 0.8.
    """

    difference: Estimate
    p_value: float | None = None
    variance: float | None = None
    degrees: float | None = None
    num_tasks: int = 0
    num_higher: int = 0
    num_lower: int = 0
    num_tied: int = 0
    minimum_detectable: float | None = None


def estimate_seed_variance(
    arms: Sequence[ArrayLike], strata: Sequence[int] | None = None
) -> SeedVariance | None:
    """The variance between training seeds, pooled over all arms with several runs.

    Args:
        arms: the trained arms [R, T] each, on the same tasks. Arms with one run are left out.

    Returns:
        None if no arm has several runs.
    """
    squares = noise = 0.0
    degrees = 0
    for arm in arms:
        values = as_runs(arm)
        if len(values) < 2:
            continue
        own = _seed_variance(values, number_strata(strata, values.shape[1]))
        if own is not None:
            squares += own.degrees * own.variance
            noise += own.degrees * own.noise
            degrees += own.degrees
    return SeedVariance(squares / degrees, noise / degrees, degrees) if degrees else None


def crossed_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    strata: Sequence[int] | None = None,
    seeds: SeedVariance | None,
    trained: tuple[bool, bool] = (True, True),
    assumed_seed_sd: float | None = None,
    confidence: float = 0.95,
) -> CrossedDifference:
    """The difference of two methods with the variance of tasks and of training runs.

    Args:
        a: [R, T] or [T], a row per training run.
        b: the same tasks in the same order.
        strata: one integer per task; strata count alike.
        seeds: the variance between seeds, from `estimate_seed_variance`.
        trained: whether each arm was trained. An untuned model has no variance between seeds.
        assumed_seed_sd: a standard deviation between seeds that is taken as known, instead of
            `seeds`.

    Raises:
        ValueError: a trained arm, but neither `seeds` nor `assumed_seed_sd`, or both.
    """
    check_confidence(confidence)
    if any(trained) and (seeds is None) == (assumed_seed_sd is None):
        raise ValueError(
            "a difference of methods needs either `seeds` or `assumed_seed_sd`; for two "
            "checkpoints only, use checkpoint_difference"
        )
    tasks = pair_tasks(a, b, strata)
    value = tasks.mean
    if value is None:
        return CrossedDifference(Estimate())
    higher, lower, tied = tasks.counts
    runs = sum(
        1 / len(arm)
        for arm, is_trained in zip((tasks.a, tasks.b), trained, strict=True)
        if is_trained
    )
    variance, degrees = tasks.variance, tasks.degrees
    of_tasks = variance**2 / degrees if degrees else math.inf
    if assumed_seed_sd is not None:
        variance += runs * assumed_seed_sd**2
        of_runs = 0.0
    elif seeds is not None:
        variance += runs * max(0.0, seeds.variance - seeds.noise)
        of_runs = (runs * seeds.variance) ** 2 / seeds.degrees
    else:
        of_runs = 0.0
    if math.isinf(variance) or variance == 0:
        return CrossedDifference(
            Estimate(value=value),
            num_tasks=tasks.each.size,
            num_higher=higher,
            num_lower=lower,
            num_tied=tied,
        )
    degrees = variance**2 / (of_tasks + of_runs)
    error = math.sqrt(variance)
    reach = t_quantile(confidence, degrees) * error
    return CrossedDifference(
        difference=Estimate(
            value=value, low=max(-1.0, value - reach), high=min(1.0, value + reach)
        ),
        p_value=t_p_value(value / error, degrees),
        variance=variance,
        degrees=degrees,
        num_tasks=tasks.each.size,
        num_higher=higher,
        num_lower=lower,
        num_tied=tied,
        minimum_detectable=detectable_effect(variance, degrees, confidence),
    )


def _seed_variance(values: Floats, strata: Ints) -> SeedVariance | None:
    """S and E of one arm [R, T]; None without a task that two runs played."""
    num_runs = len(values)
    played = ~np.isnan(values).any(axis=0)
    values, strata = values[:, played], np.unique(strata[played], return_inverse=True)[1]
    if not played.any():
        return None
    weights = stratum_weights(strata)
    means = values @ weights
    variance = float(np.var(means, ddof=1))
    # What is left after the means of tasks, and of runs within each stratum.
    left = values - values.mean(axis=0)
    sizes = np.bincount(strata)
    sums = np.stack([np.bincount(strata, row, len(sizes)) for row in left])
    left = left - (sums / sizes)[:, strata]
    squares = np.bincount(strata, (left**2).sum(axis=0))
    free = (num_runs - 1) * np.maximum(0, sizes - 1)
    pooled = squares.sum() / free.sum() if free.sum() else 0.0
    each = np.where(free > 0, squares / np.maximum(1, free), pooled)
    noise = float((each / sizes).sum()) / len(sizes) ** 2
    return SeedVariance(variance, noise, num_runs - 1)
