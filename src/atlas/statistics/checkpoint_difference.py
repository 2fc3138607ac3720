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
from atlas.statistics.task_differences import (
    Ints,
    TaskDifferences,
    limits_of,
    pair_tasks,
    run_share,
)

# Up to so many outcomes, all of them are counted.
MOST_OUTCOMES = 100_000
# Above that, so many signs are drawn, with this seed.
NUM_FLIPS = 20_000
FLIP_SEED = 0
# Sums that differ by less are equal: what is left is rounding.
SAME = 1e-9


@dataclass(frozen=True, slots=True)
class CheckpointDifference:
    """Checkpoint a minus checkpoint b over the tasks that both played.

    Attributes:
        difference: the value with the interval of these two checkpoints on other tasks.
        p_exact: of no difference, by flipping signs (McNemar's exact test for successes).
        p_mid: the same with half of the probability of the observed outcome.
        tipping_sd: the standard deviation between training seeds above which the difference could
            be chance; None if neither was trained.
        variance: of the difference, as in the interval.
        num_higher: tasks on which a is higher.
    """

    difference: Estimate
    p_exact: float | None = None
    p_mid: float | None = None
    tipping_sd: float | None = None
    variance: float | None = None
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
    a width where all tasks come out alike. Where the exact test finds no difference, it is widened
    to 0 if it does not reach it, so that the two never disagree in this way.

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
    center, variance = _enlarge(tasks)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    arms = [arm for arm, is_trained in zip((tasks.a, tasks.b), trained, strict=True) if is_trained]
    runs = sum(run_share(arm, tasks.weights) for arm in arms)
    reach, is_chance = z * math.sqrt(variance), p_exact >= 1 - confidence
    left = 0.0 if is_chance else max(0.0, (center / z) ** 2 - variance)
    return CheckpointDifference(
        difference=limits_of(tasks, center, max(reach, abs(center)) if is_chance else reach),
        p_exact=p_exact,
        p_mid=p_mid,
        tipping_sd=math.sqrt(left / runs) if runs else None,
        variance=variance,
        num_tasks=tasks.each.size,
        num_higher=higher,
        num_lower=lower,
        num_tied=tied,
    )


def _enlarge(tasks: TaskDifferences) -> tuple[float, float]:
    """The mean and its variance with one task more for either side.

    These tasks are as large as the largest difference. In many strata they weigh as much as in one.
    """
    largest = float(np.abs(tasks.each).max())
    added = (largest if largest > TINY else 1.0) ** 2
    sizes = np.bincount(tasks.strata)
    num_strata = len(sizes)
    enlarged = sizes + 2 / num_strata
    centers = np.bincount(tasks.strata, tasks.each) / enlarged
    squares = np.bincount(tasks.strata, tasks.each**2) + 2 * added / num_strata
    # In one stratum the two added tasks make up for the degree of freedom that the mean takes.
    free = enlarged - 1 + 1 / num_strata
    variance = float(((squares / enlarged - centers**2) / free).sum()) / num_strata**2
    return float(centers.mean()), variance


def _flip_signs(parts: Floats) -> tuple[float, float]:
    """The exact and the mid-p value of a sum, if the sign of each part is chance."""
    parts = parts[np.abs(parts) > TINY]
    sizes, counts = np.unique(np.abs(parts).round(12).astype(np.float64), return_counts=True)
    if len(sizes) < 2:
        return _flip_coins(parts.size, int(np.sum(parts < 0)))
    observed = abs(float(parts.sum()))
    if math.prod(int(count) + 1 for count in counts) <= MOST_OUTCOMES:
        more, same = _flip_all(sizes, counts, observed)
        return more + same, more + same / 2
    rng = np.random.default_rng(FLIP_SEED)
    total = np.zeros(NUM_FLIPS)
    for size, count in zip(sizes, counts, strict=True):
        total += size * (2 * rng.binomial(count, 0.5, NUM_FLIPS) - count)
    distance = np.abs(total) - observed
    further, equal = int(np.sum(distance > SAME)), int(np.sum(np.abs(distance) <= SAME))
    # The observed signs count as one draw, so a p-value is never 0.
    return (further + equal + 1) / (NUM_FLIPS + 1), (further + (equal + 1) / 2) / (NUM_FLIPS + 1)


def _flip_all(sizes: Floats, counts: Ints, observed: float) -> tuple[float, float]:
    """The probabilities of a sum that is further from 0 than the observed one, and of the same."""
    sums, chances = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        n = int(count)
        ways = np.array([math.comb(n, heads) / 2**n for heads in range(n + 1)])
        steps = size * (2 * np.arange(n + 1) - n)
        sums = np.add.outer(sums, steps).ravel()
        chances = np.multiply.outer(chances, ways).ravel()
    distance = np.abs(sums) - observed
    return (
        float(chances[distance > SAME].sum()),
        float(chances[np.abs(distance) <= SAME].sum()),
    )


def _flip_coins(num_coins: int, num_heads: int) -> tuple[float, float]:
    """The exact and the mid-p value of so many heads of fair coins, on both sides."""
    fewer = min(num_heads, num_coins - num_heads)
    ways, total = 1, 0
    for heads in range(fewer):
        total += ways
        ways = ways * (num_coins - heads) // (heads + 1)
    if 2 * fewer == num_coins:
        return 1.0, 1 - ways / 2 ** (num_coins + 1) if num_coins else 1.0
    return (total + ways) / 2 ** (num_coins - 1), (2 * total + ways) / 2**num_coins
