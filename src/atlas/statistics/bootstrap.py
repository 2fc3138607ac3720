"""The bootstrap: how much a number would vary with other tasks, trajectories or runs.

All resampling uses this module, with the same blocks, seeds and rule for the limits of an interval.
Arrays carry the axes R (training runs), T (tasks), U (units), K (sums) and C (resamples of one
block).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from atlas.statistics.estimate import Estimate

CONFIDENCE = 0.95
# Limits the memory of one block of resamples. It is constant, so the draws are the same everywhere.
CHUNK_ELEMENTS = 2_000_000
# Sums of floats may differ from 0 by a rounding error.
TINY = 1e-12

Floats = NDArray[np.float64]


def mean_per_task(values: Floats) -> Floats:
    """The mean of each task over the runs [R, T] -> [T]; NaN (an invalid episode) is ignored."""
    [means] = _mean_over_runs(values, np.ones((1, len(values))))
    return np.asarray(means)


def resample_means(seed: int, num_resamples: int, values: Floats) -> Floats:
    """The mean over drawn tasks and runs [R, T] in each resample; NaN without a valid value.

    NaN in the values marks an invalid episode.
    """
    rng = np.random.default_rng(seed)
    num_tasks = values.shape[1]
    means = []
    for count in _block_sizes(num_resamples, num_tasks):
        tasks = rng.integers(0, num_tasks, size=(count, num_tasks))
        per_task = _mean_over_runs(values, _draw_runs(rng, count, len(values)))
        one_row = len(per_task) == 1
        drawn = per_task[0][tasks] if one_row else np.take_along_axis(per_task, tasks, 1)
        valid = ~np.isnan(drawn)
        means.append(divide(np.where(valid, drawn, 0.0).sum(axis=1), valid.sum(axis=1)))
    return np.concatenate(means)


def percentile_interval(value: float, drawn: Floats, confidence: float) -> Estimate:
    """The value, with the percentiles of its resamples [C] as limits; NaN is ignored (Efron 1979).

    Equal resamples give no limits, because an interval of width 0 would be misleading.
    """
    known = drawn[~np.isnan(drawn)]
    if known.size == 0 or known.max() - known.min() < TINY:
        return Estimate(value=value)
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def divide(part: Floats, whole: Floats | NDArray[np.int64]) -> Floats:
    """Part / whole; NaN if the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(whole) > TINY, part / whole, np.nan)


def round_known(value: Floats | float) -> float | None:
    """A number rounded to six digits; None for NaN."""
    return None if np.isnan(value) else round(float(value), 6)


def check_confidence(confidence: float) -> None:
    """Raise ValueError if the confidence is not between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: expected a share between 0 and 1, such as 0.95")


def _draw_runs(rng: np.random.Generator, count: int, num_runs: int) -> Floats:
    """How often each run is drawn in each resample [C, R]: R - 1 draws with replacement.

    R - 1 draws make the variance between few runs unbiased (Rao and Wu 1988). A single run is not
    resampled: the result has the shape [1, 1].
    """
    if num_runs == 1:
        return np.ones((1, 1))
    draws = rng.multinomial(num_runs - 1, np.full(num_runs, 1 / num_runs), size=count)
    return draws.astype(np.float64)


def _mean_over_runs(values: Floats, draws: Floats) -> Floats:
    """[R, T] and how often each run is drawn [C, R] -> [C, T], NaN where none is valid."""
    valid = ~np.isnan(values)
    return divide(draws @ np.where(valid, values, 0.0), draws @ valid)


def _block_sizes(num_resamples: int, num_units: int) -> Iterator[int]:
    size = max(1, CHUNK_ELEMENTS // max(1, num_units))
    for start in range(0, num_resamples, size):
        yield min(size, num_resamples - start)
