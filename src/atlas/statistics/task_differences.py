"""Two arms on the same tasks -> one difference per task, with strata and their weights.

Arrays carry the axes R (training runs) and T (tasks). NaN marks an invalid episode: it is left out
and never counted as 0, and a task without a valid episode in one of the arms is left out of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from atlas.statistics.bootstrap import TINY, Floats, mean_per_task
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import as_runs

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TaskDifferences:
    """Arm a minus arm b on each task that both played.

    Attributes:
        a: the runs of arm a on these tasks [R, T].
        b: the runs of arm b on these tasks [R, T].
        each: the difference of the means over runs [T].
        strata: the stratum of each task, numbered from 0 without gaps [T].
        weights: the weight of each task in a mean over strata that count alike [T]; they sum to 1.
    """

    a: Floats
    b: Floats
    each: Floats
    strata: Ints
    weights: Floats

    @property
    def mean(self) -> float | None:
        """The mean over tasks, or over strata that count alike; None without a task."""
        if not self.each.size:
            return None
        # Rounding may put the mean of equal differences beside them.
        return float(np.clip(self.weights @ self.each, self.each.min(), self.each.max()))

    @property
    def variance(self) -> float:
        """The variance of the mean from the drawing of tasks within strata; infinite for one task.

        A stratum with a single task takes the variance over all tasks.
        """
        return mean_variance(self.each, self.strata)[0]

    @property
    def degrees(self) -> float:
        """Degrees of freedom of `variance` (Satterthwaite over strata)."""
        return mean_variance(self.each, self.strata)[1]

    @property
    def over_strata(self) -> tuple[float, float]:
        """The variance of the mean if the strata are drawn, and its degrees of freedom."""
        num_strata = int(self.strata.max(initial=-1)) + 1
        if num_strata < 2:
            return float("inf"), 0.0
        means = np.bincount(self.strata, self.each) / np.bincount(self.strata)
        return float(np.var(means, ddof=1)) / num_strata, num_strata - 1.0

    @property
    def least_variance(self) -> float:
        """What one more task for either side would do: the variance if all tasks are alike.

        That task is as far away as the values of both arms lie apart; a success counts 1. Several
        runs of a task are still one task: a difference on tasks that were not drawn is in no run.
        """
        values = np.concatenate([self.a.ravel(), self.b.ravel()])
        apart = float(np.nanmax(values) - np.nanmin(values)) if self.each.size else 0.0
        size = apart if apart > TINY else 1.0
        return 2 * size**2 * float((self.weights**2).sum()) / max(1, self.each.size)

    @property
    def is_rate(self) -> bool:
        """Whether all values are shares, so that a difference lies within -1 and 1."""
        arms = (self.a, self.b)
        return all(np.nanmin(arm) >= 0 and np.nanmax(arm) <= 1 for arm in arms if arm.size)

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many tasks are higher, lower and tied."""
        return (
            int(np.sum(self.each > 0)),
            int(np.sum(self.each < 0)),
            int(np.sum(self.each == 0)),
        )


def pair_tasks(a: ArrayLike, b: ArrayLike, strata: Sequence[int] | None) -> TaskDifferences:
    """The differences of two arms on the tasks that both played.

    Args:
        a: [R, T] or [T].
        b: the same tasks in the same order.
        strata: one integer per task, such as the number of its environment; None is one stratum.

    Raises:
        ValueError: the arms or the strata have different numbers of tasks.
    """
    first, second = as_runs(a), as_runs(b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"{first.shape[1]} tasks in one arm, {second.shape[1]} in the other: "
            "paired arms need the same tasks"
        )
    numbers = number_strata(strata, first.shape[1])
    both = ~(np.isnan(first).all(axis=0) | np.isnan(second).all(axis=0))
    first, second = as_runs(first[:, both]), as_runs(second[:, both])
    numbers = np.unique(numbers[both], return_inverse=True)[1]
    each = mean_per_task(first) - mean_per_task(second)
    return TaskDifferences(
        a=first,
        b=second,
        each=np.where(np.abs(each) < TINY, 0.0, each),
        strata=numbers,
        weights=stratum_weights(numbers),
    )


def limits_of(tasks: TaskDifferences, center: float, reach: float) -> Estimate:
    """The difference with limits this far from the center; those of rates lie within -1 and 1."""
    value = tasks.mean
    if value is None:
        return Estimate()
    most = 1.0 if tasks.is_rate else float("inf")
    low, high = min(value, center - reach), max(value, center + reach)
    return Estimate(value=value, low=max(-most, low), high=min(most, high))


def number_strata(strata: Sequence[int] | None, num_tasks: int) -> Ints:
    """One integer per task; a ValueError for another number of them."""
    if strata is None:
        return np.zeros(num_tasks, dtype=np.int64)
    numbers = np.asarray(strata, dtype=np.int64)
    if numbers.shape != (num_tasks,):
        raise ValueError(f"{len(numbers)} strata for {num_tasks} tasks: expected one for each task")
    return numbers


def stratum_weights(strata: Ints) -> Floats:
    """The weight of each task [T], so that strata count alike and all weights sum to 1."""
    sizes = np.bincount(strata)
    num_strata = np.count_nonzero(sizes)
    return 1.0 / (num_strata * sizes[strata]) if strata.size else np.zeros(0)


def run_share(runs: Floats, weights: Floats) -> float:
    """The sum of the squares of what each run counts in the mean of an arm [R, T].

    It is 1/R if each run played all tasks. A run without a valid episode counts nothing, and one
    with few of them counts little.
    """
    valid = ~np.isnan(runs)
    shares = valid / np.maximum(1, valid.sum(axis=0))
    return float(((shares @ weights) ** 2).sum())


def mean_variance(values: Floats, strata: Ints) -> tuple[float, float]:
    """The variance of a (macro) mean over tasks [T] and its degrees of freedom.

    A stratum with a single task takes the variance over all tasks, which includes that between
    strata and so errs to the wide side. Infinite for fewer than two tasks.
    """
    num_tasks = values.size
    if num_tasks < 2:
        return float("inf"), 0.0
    sizes = np.bincount(strata)
    means = np.bincount(strata, values) / sizes
    squares = np.bincount(strata, (values - means[strata]) ** 2)
    overall = float(np.var(values, ddof=1))
    is_single = sizes < 2
    within = np.where(is_single, overall, squares / np.maximum(1, sizes - 1))
    parts = within / sizes / len(sizes) ** 2
    total = float(parts.sum())
    if total == 0:
        return 0.0, float(num_tasks - len(sizes)) or 1.0
    # Strata with a single task all use the same estimate, so their errors do not cancel.
    several = float((parts[~is_single] ** 2 / (sizes[~is_single] - 1)).sum())
    single = float(parts[is_single].sum()) ** 2 / (num_tasks - 1)
    return total, total**2 / (several + single)
