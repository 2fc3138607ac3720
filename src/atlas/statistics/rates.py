"""Runs of one arm -> its success rate with an interval that has the noise of tasks and of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import TINY, check_confidence, mean_per_task
from atlas.statistics.crossed_difference import estimate_seed_variance
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs, wilson_limits
from atlas.statistics.student_t import t_quantile
from atlas.statistics.task_differences import (
    mean_variance,
    number_strata,
    run_share,
    stratum_weights,
)


@dataclass(frozen=True, slots=True)
class SuccessRate:
    """The success rate of an arm.

    Attributes:
        rate: the value with its Wilson interval.
        effective_tasks: the number of independent tasks that would leave the same variance.
        covers_seeds: whether the interval has the noise of training; else it is about this
            checkpoint.
    """

    rate: Estimate
    effective_tasks: float | None = None
    num_tasks: int = 0
    covers_seeds: bool = False


def success_rate(
    values: ArrayLike, *, strata: Sequence[int] | None = None, confidence: float = 0.95
) -> SuccessRate:
    """The success rate of one arm [R, T] or [T]; strata count alike. NaN is an invalid episode.

    Raises:
        ValueError: a value outside [0, 1].
    """
    check_confidence(confidence)
    runs = as_runs(values)
    if np.any((runs < 0) | (runs > 1)):
        raise ValueError(
            f"values from {np.nanmin(runs):g} to {np.nanmax(runs):g}: expected successes in [0, 1]"
        )
    numbers = number_strata(strata, runs.shape[1])
    played = ~np.isnan(runs).all(axis=0)
    runs, numbers = runs[:, played], np.unique(numbers[played], return_inverse=True)[1]
    num_tasks = runs.shape[1]
    if not num_tasks:
        return SuccessRate(Estimate())
    each, weights = mean_per_task(runs), stratum_weights(numbers)
    rate = float(weights @ each)
    # Weights of many tasks sum to 1 with a rounding error.
    rate = float(round(rate)) if min(rate, 1 - rate) < TINY else rate
    most = 1 / float((weights**2).sum())
    seeds = estimate_seed_variance([runs], numbers.tolist())
    variance, degrees = mean_variance(each, numbers)
    share = run_share(runs, weights)
    if seeds is not None:
        of_tasks = variance**2 / degrees if degrees else math.inf
        variance += max(0.0, seeds.variance - seeds.noise) * share
        spread = of_tasks + (seeds.variance * share) ** 2 / seeds.degrees
        degrees = variance**2 / spread if spread else math.inf
    effective = rate * (1 - rate) / variance if variance else most
    if not 0 < rate < 1 or seeds is None or math.isinf(variance):
        effective, degrees = most, math.inf
    effective = min(effective, most / share)
    limit = t_quantile(confidence, degrees)
    low, high = wilson_limits(rate, effective, limit)
    rated = Estimate(value=rate, low=low, high=high)
    return SuccessRate(rated, effective, num_tasks, seeds is not None)
