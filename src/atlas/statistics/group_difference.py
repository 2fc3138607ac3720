"""Two arms on groups of tasks -> the difference on other groups of the same kind.

An interval over tasks is about these groups (levels, environments). For groups that were never
played the groups are the sample, and there are few of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import Floats
from atlas.statistics.crossed_difference import (
    CrossedDifference,
    SeedVariance,
    crossed_difference,
    estimate_seed_variance,
)
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs
from atlas.statistics.task_differences import number_strata

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
    """The mean difference over groups that count alike, with t over the means of the groups.

    It has K - 1 degrees of freedom for K groups, and no interval below five groups. Without
    `trained` it is the difference of these checkpoints; with it, of methods, and the noise of
    seeds is added as in `crossed_difference`.

    Args:
        a: [R, T] or [T].
        b: the same tasks in the same order.
        groups: one integer per task.
        seeds: the variance between seeds, from `group_seed_variance`.
    """
    found = crossed_difference(
        a,
        b,
        strata=groups,
        seeds=seeds,
        trained=trained,
        assumed_seed_sd=assumed_seed_sd,
        confidence=confidence,
        over_strata=True,
    )
    first, second = as_runs(a), as_runs(b)
    both = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    if len(np.unique(np.asarray(groups)[both])) >= FEWEST_GROUPS:
        return found
    value = Estimate(value=found.difference.value)
    return replace(found, difference=value, p_value=None, variance=None, degrees=None)


def group_seed_variance(arms: Sequence[ArrayLike], groups: Sequence[int]) -> SeedVariance | None:
    """The variance between seeds if the means of groups are what each run is measured on.

    Args:
        arms: the trained arms [R, T] each.
        groups: one integer per task.
    """
    return estimate_seed_variance([_group_means(as_runs(arm), groups) for arm in arms])


def _group_means(runs: Floats, groups: Sequence[int]) -> Floats:
    """The mean of each run on each group [R, K]; NaN without a valid episode."""
    numbers = np.unique(number_strata(groups, runs.shape[1]), return_inverse=True)[1]
    valid = ~np.isnan(runs)
    sums = np.stack([np.bincount(numbers, row) for row in np.where(valid, runs, 0.0)])
    sizes = np.stack([np.bincount(numbers, row) for row in valid.astype(float)])
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)
