"""Two arms on groups of tasks -> the difference on other groups of the same kind.

An interval over tasks is about these groups (levels, environments). For groups that were never
played the groups are the sample, and there are few of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import Floats, check_confidence, divide
from atlas.statistics.crossed_difference import (
    CrossedDifference,
    SeedVariance,
    crossed_difference,
)
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs
from atlas.statistics.task_differences import pair_tasks

# With fewer groups no interval and no p-value is given.
FEWEST_GROUPS = 5


def group_difference(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[int],
    *,
    seeds: SeedVariance | None = None,
    trained: tuple[bool, bool] = (False, False),
    assumed_seed_sd: float | None = None,
    confidence: float = 0.95,
) -> CrossedDifference:
    """The mean difference over groups that count alike, with the means of groups as units.

    About two checkpoints it has K - 1 degrees of freedom for K groups. No interval is given below
    five groups that both arms played.

    Args:
        a: [R, T] or [T].
        b: the same tasks in the same order.
        groups: one integer per task.
        seeds: the variance between seeds over the means of groups; see `crossed_difference` for
            this and the rest.
    """
    check_confidence(confidence)
    tasks = pair_tasks(a, b, groups)
    if tasks.mean is None:
        return CrossedDifference(Estimate(), confidence=confidence)
    if len(np.unique(tasks.strata)) < FEWEST_GROUPS:
        higher, lower, tied = tasks.counts
        return CrossedDifference(
            difference=Estimate(value=tasks.mean),
            num_tasks=tasks.each.size,
            num_higher=higher,
            num_lower=lower,
            num_tied=tied,
            confidence=confidence,
        )
    numbers = tasks.strata.tolist()
    return crossed_difference(
        mean_per_group(tasks.a, numbers),
        mean_per_group(tasks.b, numbers),
        seeds=seeds,
        trained=trained,
        assumed_seed_sd=assumed_seed_sd,
        behind=tasks,
        confidence=confidence,
    )


def mean_per_group(values: ArrayLike, groups: Sequence[int]) -> Floats:
    """The mean of each group [R, T] -> [R, K]; NaN without a valid episode."""
    runs, numbers = as_runs(values), np.asarray(groups)
    valid = ~np.isnan(runs)
    sums = np.stack([np.bincount(numbers, row) for row in np.where(valid, runs, 0.0)])
    sizes = np.stack([np.bincount(numbers, row) for row in valid.astype(float)])
    return divide(sums.astype(np.float64), sizes.astype(np.float64))
