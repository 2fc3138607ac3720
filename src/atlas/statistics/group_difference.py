"""Two arms on groups of tasks -> the difference on other groups of the same kind.

An interval over tasks is about these groups (levels, environments). For groups that were never
played the groups are the sample, and there are few of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from atlas.statistics.bootstrap import check_confidence
from atlas.statistics.crossed_difference import CrossedDifference
from atlas.statistics.estimate import Estimate
from atlas.statistics.student_t import t_p_value, t_quantile
from atlas.statistics.task_differences import limits_of, pair_tasks

# With fewer groups no interval and no p-value is given.
FEWEST_GROUPS = 5


def group_difference(
    a: ArrayLike, b: ArrayLike, groups: Sequence[int], *, confidence: float = 0.95
) -> CrossedDifference:
    """The mean difference over groups that count alike, with t over the means of the groups.

    It has K - 1 degrees of freedom for K groups, and no interval below five groups.

    Args:
        a: [R, T] or [T].
        b: the same tasks in the same order.
        groups: one integer per task.
    """
    check_confidence(confidence)
    tasks = pair_tasks(a, b, groups)
    value = tasks.mean
    if value is None:
        return CrossedDifference(Estimate())
    means = np.bincount(tasks.strata, tasks.each) / np.bincount(tasks.strata)
    higher, lower, tied = tasks.counts
    result = CrossedDifference(
        difference=Estimate(value=value),
        num_tasks=tasks.each.size,
        num_higher=higher,
        num_lower=lower,
        num_tied=tied,
        confidence=confidence,
    )
    num_groups = len(means)
    variance = float(np.var(means, ddof=1)) / num_groups if num_groups > 1 else math.inf
    if num_groups < FEWEST_GROUPS or variance == 0:
        return result
    error = math.sqrt(variance)
    reach = t_quantile(confidence, num_groups - 1) * error
    return replace(
        result,
        difference=limits_of(tasks, value, reach),
        p_value=t_p_value(value / error, num_groups - 1),
        variance=variance,
        degrees=num_groups - 1,
    )
