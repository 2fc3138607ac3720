"""Runs of two arms -> the probability that a run of one is above a run of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import Floats, check_confidence
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs
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
    the Mann-Whitney statistic; it keeps a width where all runs of an arm are above the other's.

    Args:
        a: [R, T], a row per training run. NaN marks an invalid episode.
        b: the same tasks; the number of runs may differ.
    """
    check_confidence(confidence)
    first, second = as_runs(a), as_runs(b)
    numbers = number_strata(strata, first.shape[1])
    both = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    shares = []
    for number in np.unique(numbers[both]):
        inside = both & (numbers == number)
        x, y = _run_means(first[:, inside]), _run_means(second[:, inside])
        differences = x[:, None] - y[None, :]
        if differences.size:
            signs = np.sign(np.where(np.abs(differences) < 1e-12, 0.0, differences))
            shares.append(float(np.mean(0.5 + signs / 2)))
    if not shares:
        return Estimate()
    value = math.fsum(shares) / len(shares)
    low, high = _newcombe_limits(value, len(first), len(second), confidence)
    return Estimate(value=value, low=low, high=high)


def _run_means(runs: Floats) -> Floats:
    """The mean of each run over its valid tasks; a run without one is left out."""
    valid = ~np.isnan(runs)
    played = valid.any(axis=1)
    sums = np.where(valid, runs, 0.0).sum(axis=1)[played]
    return np.asarray(sums / valid.sum(axis=1)[played])


def _newcombe_limits(
    value: float, num_first: int, num_second: int, confidence: float
) -> tuple[float, float]:
    """The probabilities whose distance from the value is z standard errors."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    more = (num_first + num_second) / 2 - 1

    def is_outside(share: float) -> bool:
        spread = 1 + more * ((1 - share) / (2 - share) + share / (1 + share))
        variance = share * (1 - share) * spread / (num_first * num_second)
        return (value - share) ** 2 > z * z * variance

    limits = []
    for far in (0.0, 1.0):
        outside, inside = far, value
        for _ in range(60):
            middle = (outside + inside) / 2
            outside, inside = (middle, inside) if is_outside(middle) else (outside, middle)
        limits.append(outside)
    return limits[0], limits[1]
