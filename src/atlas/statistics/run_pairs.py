"""Two runs of an arm on the tasks that both played -> what they say about the noise of seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.statistics.bootstrap import Floats
from atlas.statistics.task_differences import Ints, stratum_weights


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs on the tasks that both played, with half of what their difference shows."""

    runs: tuple[int, int]
    num_tasks: int
    free: int
    square: float
    noise: float
    tasks_noise: float


def compare_pair(first: int, second: int, values: Floats, strata: Ints) -> RunPair:
    """Compare two runs; `values` are those of all runs on the tasks that both played [R, T]."""
    found = values[first] - values[second]
    sizes = np.bincount(strata)
    return RunPair(
        runs=(first, second),
        num_tasks=found.size,
        free=int((sizes - 1).sum()),
        square=float(stratum_weights(strata) @ found) ** 2 / 2,
        noise=_noise_of(found, strata) / 2,
        tasks_noise=_noise_of_sizes(sizes),
    )


def degrees_of(pairs: Sequence[RunPair], weights: Floats) -> int:
    """How many runs beyond the first of each connected group, fewer where some pairs count more."""
    group = {run: run for pair in pairs for run in pair.runs}

    def root(run: int) -> int:
        while group[run] != run:
            run = group[run]
        return run

    joins = 0
    for pair in pairs:
        first, second = map(root, pair.runs)
        joins += first != second
        group[first] = second
    even = float(weights.sum() ** 2 / (weights**2).sum()) / len(pairs)
    return max(1, round(joins * even))


def _noise_of(found: Floats, strata: Ints) -> float:
    """The variance of a mean over strata from the tasks within them.

    A stratum with a single task takes the mean over the others.
    """
    sizes = np.bincount(strata)
    left = found - (np.bincount(strata, found) / sizes)[strata]
    squares = np.bincount(strata, left**2)
    free = sizes - 1
    pooled = squares.sum() / free.sum() if free.sum() else 0.0
    each = np.where(free > 0, squares / np.maximum(1, free), pooled)
    return float((each / sizes).sum()) / len(sizes) ** 2


def _noise_of_sizes(sizes: Ints) -> float:
    """The noise of a mean over strata of these sizes, if the variance within them is 1."""
    sizes = sizes[sizes > 0]
    return float((1 / sizes).sum()) / len(sizes) ** 2


def mean_share(
    valid: NDArray[np.bool_], strata: Ints, pairs: Sequence[RunPair], weights: Floats
) -> float:
    """How much less noise a run's mean over all its tasks has than one over a pair's, 1 or less.

    The variance within strata is taken as alike.
    """
    played = {run for pair in pairs for run in pair.runs}
    runs = [_noise_of_sizes(np.bincount(strata[valid[run]])) for run in sorted(played)]
    sizes = valid[sorted(played)].sum(axis=1)
    own = float(np.average(runs, weights=sizes))
    shared = float(np.average([pair.tasks_noise for pair in pairs], weights=weights))
    return min(1.0, own / shared)
