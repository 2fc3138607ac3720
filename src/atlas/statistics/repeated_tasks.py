"""Several episodes of one checkpoint on each task -> how reliably it solves a task."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import Floats, check_confidence
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs, bootstrap_interval


def pass_hat_k(
    values: ArrayLike, k: int, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Estimate:
    """pass^k: the probability that k episodes of a task all succeed (Yao et al. 2024).

    For c successes in n episodes of a task it is C(c, k) / C(n, k), averaged over tasks. Tasks
    with fewer than k valid episodes are left out.

    Args:
        values: [E, T], successes (0 or 1) of E episodes of each task by the same checkpoint.
    """
    check_confidence(confidence)
    if k < 1:
        raise ValueError(f"pass^{k}: expected at least one episode")
    successes, counts = _counts(values)
    shares = [
        math.comb(int(won), k) / math.comb(int(played), k)
        for won, played in zip(successes, counts, strict=True)
        if played >= k
    ]
    return bootstrap_interval(shares, seed, resamples, confidence) if shares else Estimate()


def flip_rate(
    values: ArrayLike, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Estimate:
    """The probability that two episodes of a task by the same checkpoint end differently.

    Tasks with fewer than two valid episodes are left out.

    Args:
        values: [E, T], successes (0 or 1).
    """
    check_confidence(confidence)
    successes, counts = _counts(values)
    several = counts >= 2
    won, played = successes[several], counts[several]
    shares = 2 * won * (played - won) / (played * (played - 1))
    return bootstrap_interval(shares, seed, resamples, confidence) if shares.size else Estimate()


def _counts(values: ArrayLike) -> tuple[Floats, Floats]:
    """Successes and valid episodes of each task; a ValueError for a score."""
    episodes = as_runs(values)
    valid = ~np.isnan(episodes)
    if not np.isin(episodes[valid], (0.0, 1.0)).all():
        raise ValueError("values that are neither 0 nor 1: expected successes")
    return np.where(valid, episodes, 0.0).sum(axis=0), valid.sum(axis=0).astype(np.float64)
