"""Two checkpoints on the same tasks -> their difference, which says nothing about the methods.

The tests flip the sign of each task's difference. For successes this is McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import TINY, Floats, check_confidence
from atlas.statistics.estimate import Estimate
from atlas.statistics.task_differences import TaskDifferences, limits_of, pair_tasks

# Draws of signs where the exact distribution has too many outcomes, and their seed.
NUM_FLIPS = 20_000
FLIP_SEED = 0


@dataclass(frozen=True, slots=True)
class CheckpointDifference:
    """Checkpoint a minus checkpoint b over the tasks that both played.

    Attributes:
        difference: the value with the interval of these two checkpoints on other tasks.
        p_exact: of no difference, by flipping signs (McNemar's exact test for successes).
        p_mid: the same with half of the probability of the observed outcome.
        tipping_sd: the standard deviation between training seeds above which the difference could
            be chance; None if neither was trained.
        num_higher: tasks on which a is higher.
    """

    difference: Estimate
    p_exact: float | None = None
    p_mid: float | None = None
    tipping_sd: float | None = None
    num_tasks: int = 0
    num_higher: int = 0
    num_lower: int = 0
    num_tied: int = 0


def checkpoint_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    strata: Sequence[int] | None = None,
    trained: tuple[bool, bool] = (True, True),
    confidence: float = 0.95,
) -> CheckpointDifference:
    """The difference of two checkpoints on the tasks that both played.

    The interval is that of Bonett and Price (2012): one task for either side is added, so it keeps
    a width where all tasks come out alike.

    Args:
        a: [T], or [R, T] for several checkpoints whose mean is compared.
        b: the same tasks in the same order.
        strata: one integer per task; strata count alike.
    """
    check_confidence(confidence)
    tasks = pair_tasks(a, b, strata)
    value = tasks.mean
    if value is None:
        return CheckpointDifference(Estimate())
    p_exact, p_mid = _flip_signs(tasks.weights * tasks.each)
    higher, lower, tied = tasks.counts
    return CheckpointDifference(
        difference=_interval(tasks, confidence),
        p_exact=p_exact,
        p_mid=p_mid,
        tipping_sd=_tipping_sd(tasks, value, trained, confidence),
        num_tasks=tasks.each.size,
        num_higher=higher,
        num_lower=lower,
        num_tied=tied,
    )


def _interval(tasks: TaskDifferences, confidence: float) -> Estimate:
    sizes = np.bincount(tasks.strata).astype(np.float64)
    # Both added tasks together weigh the same in one stratum as in many.
    added = 1 / len(sizes)
    sums = np.bincount(tasks.strata, tasks.each)
    squares = np.bincount(tasks.strata, tasks.each**2)
    centers = sums / (sizes + 2 * added)
    spread = (squares + 2 * added) / (sizes + 2 * added) - centers**2
    variance = float((spread / (sizes + 2 * added)).sum()) / len(sizes) ** 2
    center = float(centers.mean())
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(variance)
    return limits_of(tasks, center, reach)


def _tipping_sd(
    tasks: TaskDifferences, value: float, trained: tuple[bool, bool], confidence: float
) -> float | None:
    runs = sum(
        1 / len(arm)
        for arm, is_trained in zip((tasks.a, tasks.b), trained, strict=True)
        if is_trained
    )
    if not runs or math.isinf(tasks.variance):
        return None
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return math.sqrt(max(0.0, (value / z) ** 2 - tasks.variance) / runs)


def _flip_signs(parts: Floats) -> tuple[float, float]:
    """The exact and the mid-p value of a sum, if the sign of each part is chance."""
    parts = np.abs(parts[np.abs(parts) > TINY]) * np.sign(parts[np.abs(parts) > TINY])
    if not parts.size:
        return 1.0, 1.0
    observed = abs(float(parts.sum()))
    sizes, counts = np.unique(np.round(np.abs(parts), 12), return_counts=True)
    if len(sizes) == 1:
        n = int(counts[0])
        chosen = [math.comb(n, k) for k in range(n + 1)]
        sums = np.abs(2 * np.arange(n + 1) - n) * sizes[0]
        more = sum(c for c, s in zip(chosen, sums, strict=True) if s > observed + 1e-9)
        same = sum(c for c, s in zip(chosen, sums, strict=True) if abs(s - observed) <= 1e-9)
        return (more + same) / 2**n, (more + same / 2) / 2**n
    rng = np.random.default_rng(FLIP_SEED)
    total = np.zeros(NUM_FLIPS)
    for size, count in zip(sizes, counts, strict=True):
        total += size * (2 * rng.binomial(count, 0.5, NUM_FLIPS) - count)
    more = int(np.sum(np.abs(total) > observed + 1e-9))
    same = int(np.sum(np.abs(np.abs(total) - observed) <= 1e-9))
    p_exact = (more + same + 1) / (NUM_FLIPS + 1)
    return p_exact, min(p_exact, (more + same / 2 + 1) / (NUM_FLIPS + 1))
