"""Intervals of one arm: for a success rate, and for a mean over tasks.

An interval covers the sampling of tasks. It covers the noise of training only if the arm has
several training runs; with one training seed, no interval can show this noise. NaN marks an invalid
episode, which is ignored and not counted as 0.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import (
    Floats,
    check_confidence,
    mean_per_task,
    percentile_interval,
    resample_means,
)
from atlas.statistics.estimate import Estimate


def wilson_interval(successes: float, trials: int, confidence: float = 0.95) -> Estimate:
    """The Wilson score interval of a success rate (Wilson 1927).

    It stays within [0, 1], and it has a width at 0 and at 1. It covers the sampling of independent
    trials, here one episode on each of `trials` tasks. It does not cover training noise, and it is
    too narrow where several trials share a task: use `success_rate` there.

    Raises:
        ValueError: successes outside [0, trials], or confidence outside (0, 1).
    """
    check_confidence(confidence)
    if not 0 <= successes <= trials:
        raise ValueError(
            f"{successes} successes in {trials} trials: expected 0 <= successes <= trials"
        )
    if trials == 0:
        return Estimate()
    rate = successes / trials
    low, high = wilson_limits(rate, trials, NormalDist().inv_cdf(0.5 + confidence / 2))
    return Estimate(value=rate, low=low, high=high)


def wilson_limits(rate: float, trials: float, z: float) -> tuple[float, float]:
    """Wilson's limits of a rate in so many trials (may be a fraction), z standard errors away."""
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    shrink = 1 + z * z / trials
    center = rate + z * z / (2 * trials)
    # Near 0 and 1, rounding may put the rate outside by 1e-17, hence min and max with the rate.
    return (
        max(0.0, min(rate, (center - spread) / shrink)),
        min(1.0, max(rate, (center + spread) / shrink)),
    )


def bootstrap_interval(
    values: ArrayLike, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Estimate:
    """The percentile bootstrap interval of a mean.

    With one run it covers only the sampling of tasks. With several runs, tasks and runs are both
    resampled (the pigeonhole bootstrap of crossed factors, Owen 2007), so training noise is in it
    as far as R runs can show it. It errs to the wide side, because the noise of single episodes
    counts for tasks and for runs. Rates and differences have intervals that do not.

    Args:
        values: [T], one value per task, or [R, T], one row per training run on the same tasks.
    """
    check_confidence(confidence)
    array = as_runs(values)
    array = array[:, ~np.isnan(array).all(axis=0)]
    if array.size == 0:
        return Estimate()
    value = float(mean_per_task(array).mean())
    return percentile_interval(value, resample_means(seed, resamples, array), confidence)


def as_runs(values: ArrayLike) -> Floats:
    """[T] or [R, T] -> [R, T]; a ValueError for another shape.

    A run without any valid episode shows nothing and is left out, unless no run has one.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[np.newaxis, :] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[0] == 0:
        raise ValueError(f"values of shape {np.shape(values)}: expected (tasks,) or (runs, tasks)")
    played = ~np.isnan(array).all(axis=1)
    return array[played] if played.any() else array[:1]
