"""The average of estimates that count alike, however many tasks each was measured on."""

from __future__ import annotations

import math
from collections.abc import Iterable

from atlas.statistics.estimate import Estimate


def average_estimates(estimates: Iterable[Estimate]) -> Estimate:
    """The mean of independent estimates; unknown ones are left out.

    The distances of the limits from their values are added in squares (MOVER, Zou and Donner 2008),
    so the mean of Wilson intervals keeps a width at 0 and at 1. If one of the estimates has
    no interval, the mean has none.
    """
    known = [(estimate, estimate.value) for estimate in estimates if estimate.value is not None]
    if not known:
        return Estimate()
    mean = math.fsum(value for _, value in known) / len(known)
    below = above = 0.0
    for estimate, value in known:
        if estimate.limits is None:
            return Estimate(value=mean)
        low, high = estimate.limits
        below += (value - low) ** 2
        above += (high - value) ** 2
    return Estimate(
        value=mean,
        low=mean - math.sqrt(below) / len(known),
        high=mean + math.sqrt(above) / len(known),
    )
