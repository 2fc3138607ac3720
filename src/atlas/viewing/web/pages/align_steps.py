"""Aligns two sequences of steps: `keys, keys -> pairs of indices`, an edit distance with pairs.

Two steps with the same observation and the same action cost nothing, so episodes that part and meet
again are realigned there. Steps in between are paired as long as that is shorter than showing each
of them opposite an empty place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A step without a partner; partners of which one part differs, and of which both do.
GAP, PARTLY, DIFFERENT = 2, 2, 3
# 2,000 steps beside 2,000 steps take 16 MB and a tenth of a second.
MAX_CELLS = 4_000_000

Pair = tuple[int | None, int | None]


class StepKey(NamedTuple):
    """What decides whether two steps are the same."""

    observation: str
    action: str


class StepPairs(NamedTuple):
    """The pairs in order; each index of both sides is in one of them.

    `is_whole` is false where the episodes are so long that steps between their common beginning and
    end are only paired by number.
    """

    pairs: tuple[Pair, ...]
    is_whole: bool = True


def align_steps(left: Sequence[StepKey], right: Sequence[StepKey]) -> StepPairs:
    """Pair the steps of two episodes. Swapping the episodes swaps the pairs and nothing else."""
    if tuple(left) > tuple(right):
        # Several alignments may be best. A fixed order of the inputs makes the choice symmetric.
        swapped = align_steps(right, left)
        return StepPairs(tuple((one, other) for other, one in swapped.pairs), swapped.is_whole)
    start = _num_common(left, right)
    end = _num_common(left[start:][::-1], right[start:][::-1])
    inner_left, inner_right = left[start : len(left) - end], right[start : len(right) - end]
    is_whole = len(inner_left) * len(inner_right) <= MAX_CELLS
    inner: list[Pair] = (
        _trace(_costs(inner_left, inner_right))
        if is_whole
        else list(zip_longest(range(len(inner_left)), range(len(inner_right))))
    )
    pairs: list[Pair] = [(index, index) for index in range(start)]
    pairs += [(_moved(one, start), _moved(other, start)) for one, other in inner]
    pairs += [(len(left) - back, len(right) - back) for back in range(end, 0, -1)]
    return StepPairs(tuple(pairs), is_whole)


def _moved(index: int | None, by: int) -> int | None:
    return None if index is None else index + by


def _num_common(left: Sequence[StepKey], right: Sequence[StepKey]) -> int:
    shorter = min(len(left), len(right))
    return next((index for index in range(shorter) if left[index] != right[index]), shorter)


def _costs(left: Sequence[StepKey], right: Sequence[StepKey]) -> NDArray[np.int32]:
    """What each pair costs, shape [left, right]."""

    def same(of_left: list[str], of_right: list[str]) -> NDArray[np.bool_]:
        codes: dict[str, int] = {}
        one, other = (
            np.array([codes.setdefault(text, len(codes)) for text in texts], dtype=np.int32)
            for texts in (of_left, of_right)
        )
        return np.asarray(one[:, None] == other[None, :])

    observation, action = (
        same([key[part] for key in left], [key[part] for key in right]) for part in (0, 1)
    )
    one_of_them = np.where(observation | action, PARTLY, DIFFERENT)
    return np.where(observation & action, 0, one_of_them).astype(np.int32)


def _trace(costs: NDArray[np.int32]) -> list[Pair]:
    """The pairs of the cheapest alignment."""
    rows, columns = costs.shape
    gaps = np.arange(columns + 1, dtype=np.int32) * GAP
    best = np.empty((rows + 1, columns + 1), dtype=np.int32)
    best[0] = gaps
    for row in range(rows):
        above = best[row]
        best[row + 1, 0] = above[0] + GAP
        best[row + 1, 1:] = np.minimum(above[1:] + GAP, above[:-1] + costs[row])
        # A run of gaps to the right of any cell, for the whole row at once.
        best[row + 1] = np.minimum.accumulate(best[row + 1] - gaps) + gaps
    found: list[Pair] = []
    row, column = rows, columns
    while row or column:
        here = best[row, column]
        if row and column and here == best[row - 1, column - 1] + costs[row - 1, column - 1]:
            row, column = row - 1, column - 1
            found.append((row, column))
        elif row and here == best[row - 1, column] + GAP:
            row -= 1
            found.append((row, None))
        else:
            column -= 1
            found.append((None, column))
    return found[::-1]
