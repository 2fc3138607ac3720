"""Runs of two arms -> the probability that a run of one is above a run of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import TINY, Floats, check_confidence, divide
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs
from atlas.statistics.student_t import t_quantile
from atlas.statistics.task_differences import number_strata


def probability_of_improvement(
    a: ArrayLike,
    b: ArrayLike,
    *,
    strata: Sequence[int] | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """The probability that a run of arm a has a higher mean than one of arm b.

    It is computed per stratum (environment) over all pairs of runs, where an equal mean counts
    half, and averaged over strata (Agarwal et al. 2021). A run plays all strata, so the unit is
    the run, however many strata there are. The interval is that of Newcombe (2006, method 5) for
    the Mann-Whitney statistic, which keeps a width where all runs of an arm are above the other's.
    Its variance is lowered to what the means of runs over strata show, at most to that of
    independent strata; then the limits are those of t.

    Args:
        a: [R, T], a row per training run. NaN marks an invalid episode.
        b: the same tasks; the number of runs may differ.
    """
    check_confidence(confidence)
    first, second = as_runs(a), as_runs(b)
    numbers = number_strata(strata, first.shape[1])
    both = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    wins = []
    for number in np.unique(numbers[both]):
        inside = both & (numbers == number)
        differences = _run_means(first[:, inside])[:, None] - _run_means(second[:, inside])
        signs = np.sign(np.where(np.abs(differences) < TINY, 0.0, differences))
        wins.append(0.5 + signs / 2)
    if not wins:
        return Estimate()
    # [R of a, R of b], the mean over the strata that both runs played.
    won = np.nanmean(np.stack(wins), axis=0) if len(wins) > 1 else wins[0]
    value = float(np.nanmean(won))
    if math.isnan(value):
        return Estimate()
    share, quantile = 1.0, t_quantile(confidence, math.inf)
    if len(wins) > 1 and min(won.shape) > 1:
        seen = sum(np.nanmean(won, axis=1 - axis).var(ddof=1) / won.shape[axis] for axis in (0, 1))
        known = _newcombe_variance(value, *won.shape)
        share = min(1.0, max(1 / len(wins), seen / known)) if known else 1.0
        # A variance that few runs show is not known well.
        quantile = t_quantile(confidence, sum(won.shape) - 2)
    limits = [
        _newcombe_limit(value, far, won.shape[0], won.shape[1], share, quantile)
        for far in (0.0, 1.0)
    ]
    return Estimate(value=value, low=limits[0], high=limits[1])


def _run_means(runs: Floats) -> Floats:
    """The mean of each run over its valid tasks; NaN without one."""
    valid = ~np.isnan(runs)
    return divide(np.where(valid, runs, 0.0).sum(axis=1), valid.sum(axis=1))


def _newcombe_variance(share: float, num_first: int, num_second: int) -> float:
    more = (num_first + num_second) / 2 - 1
    spread = 1 + more * ((1 - share) / (2 - share) + share / (1 + share))
    return share * (1 - share) * spread / (num_first * num_second)


def _newcombe_limit(
    value: float, far: float, num_first: int, num_second: int, factor: float, quantile: float
) -> float:
    """The probability that lies so many standard errors from the value, on the side of `far`."""
    outside, inside = far, value
    for _ in range(60):
        middle = (outside + inside) / 2
        variance = factor * _newcombe_variance(middle, num_first, num_second)
        is_outside = (value - middle) ** 2 > quantile**2 * variance
        outside, inside = (middle, inside) if is_outside else (outside, middle)
    return outside
