"""Intervals of statistics of sums over units, such as ratios: the delete-one jackknife.

Unlike percentiles of a bootstrap, these intervals keep their coverage with few units (from
`FEWEST_UNITS` on). They are limits of Student's t with one degree of freedom less than units.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt

import numpy as np

from atlas.statistics.bootstrap import CONFIDENCE, TINY, Floats, divide, round_known
from atlas.statistics.estimate import Estimate
from atlas.statistics.student_t import t_quantile

# Below this number of units, no interval keeps its coverage, and none is given.
FEWEST_UNITS = 20

# From sums [..., K] to values [...].
SumStatistic = Callable[[Floats], Floats]


def estimate_from_sums(
    units: Floats, statistic: SumStatistic, bounds: tuple[float, float] = (-inf, inf)
) -> Estimate:
    """The value of a statistic of the sums over units [U, K], with its 95 % interval.

    No interval is given below `FEWEST_UNITS` units, if the statistic is not known without one of
    them, or if it is the same without any of them. Numbers are rounded to six digits.

    Args:
        bounds: the values that the statistic can have.
    """
    num_units, total = len(units), units.sum(axis=0)
    value = round_known(statistic(total))
    if value is None:
        return Estimate()
    if num_units < FEWEST_UNITS:
        return Estimate(value=value)
    without = statistic(total - units)
    error = sqrt((num_units - 1) / num_units * float(((without - without.mean()) ** 2).sum()))
    if np.isnan(error) or error < TINY:
        return Estimate(value=value)
    half = t_quantile(CONFIDENCE, num_units - 1) * error
    low, high = (float(np.clip(limit, *bounds)) for limit in (value - half, value + half))
    return Estimate(value=value, low=round_known(low), high=round_known(high))


def ratio_of_sums(parts: Floats, wholes: Floats, bounds: tuple[float, float]) -> Estimate:
    """The ratio (sum of parts) / (sum of wholes) over units [U], with its 95 % interval."""
    units = np.stack([parts, wholes], axis=1) if len(parts) else np.zeros((0, 2))
    return estimate_from_sums(units, lambda sums: divide(sums[..., 0], sums[..., 1]), bounds)


def sum_by_unit(rows: Floats, units: list[str]) -> Floats:
    """The sums [U, K] of the rows [N, K] of each unit, in the order in which units appear."""
    numbers: dict[str, int] = {}
    places = [numbers.setdefault(unit, len(numbers)) for unit in units]
    sums = np.zeros((len(numbers), rows.shape[1]))
    np.add.at(sums, places, rows)
    return sums
