"""Runs of two arms -> the probability that a run of one is above a run of the other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import TINY, Floats, check_confidence, divide
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs
from atlas.statistics.student_t import t_quantile


def probability_of_improvement(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """The probability that a run of arm a has a higher mean than one of arm b.

    It is computed over all pairs of runs, where an equal mean counts half (Agarwal et al. 2021).
    The interval is that of Newcombe (2006, method 5) for the Mann-Whitney statistic, which keeps a
    width where all runs of an arm are above the other's. It includes 0.5 where the arms have so
    few runs that no order of them is unlikely.

    Args:
        a: [R, T], a row per training run. NaN marks an invalid episode.
        b: the same tasks; the number of runs may differ.
    """
    check_confidence(confidence)
    first, second = as_runs(a), as_runs(b)
    both = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    one, other = (_run_means(arm[:, both]) for arm in (first, second))
    one, other = one[~np.isnan(one)], other[~np.isnan(other)]
    if not (one.size and other.size):
        return Estimate()
    differences = one[:, None] - other
    signs = np.sign(np.where(np.abs(differences) < TINY, 0.0, differences))
    value = float(np.mean(0.5 + signs / 2))
    quantile = t_quantile(confidence, math.inf)
    low, high = (_newcombe_limit(value, far, one.size, other.size, quantile) for far in (0.0, 1.0))
    # The least p-value of a rank test: one of all orders of the runs, on both sides.
    if 2 / math.comb(one.size + other.size, one.size) > 1 - confidence:
        low, high = min(low, 0.5), max(high, 0.5)
    return Estimate(value=value, low=low, high=high)


def _run_means(runs: Floats) -> Floats:
    """The mean of each run over its valid tasks; NaN without one."""
    valid = ~np.isnan(runs)
    return divide(np.where(valid, runs, 0.0).sum(axis=1), valid.sum(axis=1))


def _newcombe_variance(share: float, num_first: int, num_second: int) -> float:
    more = (num_first + num_second) / 2 - 1
    spread = 1 + more * ((1 - share) / (2 - share) + share / (1 + share))
    return share * (1 - share) * spread / (num_first * num_second)


def _newcombe_limit(
    value: float, far: float, num_first: int, num_second: int, quantile: float
) -> float:
    """The probability that lies so many standard errors from the value, on the side of `far`."""
    outside, inside = far, value
    for _ in range(60):
        middle = (outside + inside) / 2
        variance = _newcombe_variance(middle, num_first, num_second)
        is_outside = (value - middle) ** 2 > quantile**2 * variance
        outside, inside = (middle, inside) if is_outside else (outside, middle)
    return outside
