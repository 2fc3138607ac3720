"""Several episodes of one checkpoint on each task -> how reliably it solves a task.

Where several checkpoints were trained in the same way, the unit is still the task: their episodes
of a task are not independent. Tasks and checkpoints are both resampled.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import check_confidence, divide
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval
from atlas.statistics.task_differences import Ints


def pass_hat_k(
    values: ArrayLike, k: int, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Estimate:
    """pass^k: the probability that k episodes of a task all succeed (Yao et al. 2024).

    For c successes in n episodes of a task it is C(c, k) / C(n, k), averaged over checkpoints and
    tasks. Tasks with fewer than k valid episodes are left out.

    Args:
        values: [E, T], successes (0 or 1) of E episodes of each task by the same checkpoint, or
            [R, E, T] for R checkpoints.
    """
    check_confidence(confidence)
    if k < 1:
        raise ValueError(f"pass^{k}: expected at least one episode")
    successes, counts = _counts(values)
    ways = np.array([math.comb(n, k) for n in range(int(counts.max(initial=0)) + 1)], dtype=float)
    return bootstrap_interval(divide(ways[successes], ways[counts]), seed, resamples, confidence)


def flip_rate(
    values: ArrayLike, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Estimate:
    """The probability that two episodes of a task by the same checkpoint end differently.

    Tasks with fewer than two valid episodes are left out.

    Args:
        values: [E, T] or [R, E, T], successes (0 or 1), as in `pass_hat_k`.
    """
    check_confidence(confidence)
    won, played = _counts(values)
    shares = divide((2 * won * (played - won)).astype(float), played * (played - 1))
    return bootstrap_interval(shares, seed, resamples, confidence)


def _counts(values: ArrayLike) -> tuple[Ints, Ints]:
    """Successes and valid episodes of each task by each checkpoint [R, T].

    Raises:
        ValueError: a value that is neither 0 nor 1.
    """
    episodes = np.asarray(values, dtype=np.float64)
    episodes = episodes.reshape((1,) * (3 - episodes.ndim) + episodes.shape)
    valid = ~np.isnan(episodes)
    if not np.isin(episodes[valid], (0.0, 1.0)).all():
        raise ValueError("values that are neither 0 nor 1: expected successes")
    won = np.where(valid, episodes, 0.0).sum(axis=1)
    return won.astype(np.int64), valid.sum(axis=1).astype(np.int64)
