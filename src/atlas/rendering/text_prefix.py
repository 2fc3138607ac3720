"""Compares the beginnings of long texts."""

from __future__ import annotations


def num_common(one: str, other: str) -> int:
    """The length of the common beginning of two texts, by bisection because they are long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
