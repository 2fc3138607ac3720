"""Two arms on the same tasks -> the difference of their means, with interval and p-value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import (
    TINY,
    check_confidence,
    mean_per_task,
    percentile_interval,
    resample_means,
)
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Arm a minus arm b over the tasks on which both have a valid episode.

    `num_higher`, `num_lower` and `num_tied` count those tasks by the sign of their difference
    (means over runs). `p_value` is None without such a task.
    """

    difference: Estimate
    p_value: float | None = None
    num_tasks: int = 0
    num_higher: int = 0
    num_lower: int = 0
    num_tied: int = 0


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> PairedDifference:
    """Mean of arm a minus mean of arm b on the same tasks.

    Each resample draws tasks, the same for both arms, because a hard task is hard for both. Where
    an arm has several runs, each resample also draws runs within that arm. With one run per arm the
    interval covers only the sampling of tasks: a difference that it calls real may still come from
    the luck of one training seed. Resampling two crossed factors errs to the wide side (Owen 2007),
    few runs err to the narrow side. In simulation a 95 % interval held the truth in 99 to 100 % of
    experiments where training noise was small, and in 87, 90 and 92 % with 2, 3 and 5 runs where it
    was three times the noise of the tasks.

    The p-value is twice the smaller share of resamples on either side of 0 (0 counts for both, one
    is added to each count), so it agrees with the interval and is never 0. A bootstrap of few tasks
    is overconfident. Therefore the p-value is never below 2 / 2**k for k tasks that differ, the
    least that flipping the signs of k differences can give.

    Args:
        a: [R, T] or [T]. A task without a valid episode in either arm is left out of both.
        b: the same tasks in the same order.

    Raises:
        ValueError: the arms have different numbers of tasks.
    """
    check_confidence(confidence)
    first, second = as_runs(a), as_runs(b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{first.shape[1]} tasks in one arm, {second.shape[1]} in the other: "
            "paired arms need the same tasks"
        )
    both = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    first, second = first[:, both], second[:, both]
    per_task = mean_per_task(first) - mean_per_task(second)
    if per_task.size == 0:
        return PairedDifference(Estimate())
    drawn = resample_means(seed, resamples, first, second)
    drawn, per_task = (np.where(np.abs(one) < TINY, 0.0, one) for one in (drawn, per_task))
    known = drawn[~np.isnan(drawn)]
    tail = min(int(np.sum(known <= 0)), int(np.sum(known >= 0)))
    num_different = int(np.sum(per_task != 0))
    return PairedDifference(
        difference=percentile_interval(float(per_task.mean()), drawn, confidence),
        p_value=min(1.0, max(2 * (tail + 1) / (known.size + 1), 2.0 ** (1 - num_different))),
        num_tasks=int(per_task.size),
        num_higher=int(np.sum(per_task > 0)),
        num_lower=int(np.sum(per_task < 0)),
        num_tied=int(np.sum(per_task == 0)),
    )
