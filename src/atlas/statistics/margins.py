"""The interval of a difference and a margin -> not worse, alike, or undecided."""

from __future__ import annotations

from typing import Literal

from atlas.statistics.estimate import Estimate

MarginVerdict = Literal["alike", "not_worse", "undecided"]


def judge_margin(difference: Estimate, margin: float) -> MarginVerdict:
    """What an interval says about a margin (a share, such as 0.05).

    "alike": both limits lie within the margin. "not_worse": the lower limit lies above minus the
    margin. "undecided": neither, or no interval.

    >>> judge_margin(Estimate(value=0.01, low=-0.03, high=0.06), 0.05)
    'not_worse'

    Raises:
        ValueError: a margin that is not above 0.
    """
    if not 0 < margin < float("inf"):
        raise ValueError(f"margin {margin}: expected a share above 0, such as 0.05")
    if difference.limits is None:
        return "undecided"
    low, high = difference.limits
    if low <= -margin:
        return "undecided"
    return "alike" if high < margin else "not_worse"
