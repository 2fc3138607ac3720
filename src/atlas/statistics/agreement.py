"""How much two selections of the same trajectories agree, beyond the agreement expected by chance.

Chance agreement is computed exactly. If two selectors draw `a` and `b` of the `n` steps of a
trajectory at random, the number of common steps has a hypergeometric distribution with mean a * b /
n. It is computed for each trajectory from the number of steps that each selection chose there, so
selections with different budgets can be compared. Intervals cover the sampling of trajectories (or
tasks).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from atlas.records import Record
from atlas.statistics.bootstrap import Floats, Statistic, divide, estimate_statistics, round_known
from atlas.statistics.estimate import Estimate

# With fewer units, no result can be significantly better than chance: 2 / 2**5 > 0.05.
FEWEST_UNITS = 6

BOTH, FIRST, SECOND, STEPS, EXPECTED, MOST, JACCARD, CHANCE_JACCARD, HAS_JACCARD = range(9)


class Agreement(Record):
    """The agreement of two selections.

    `num_units` is the number of resampled units: trajectories, or tasks if several trajectories
    share one.

    Attributes:
        kappa: Cohen's kappa over all steps pooled; each selection chooses a step or not.
        chance_kappa: kappa of random draws. It is above 0 if both selections choose a larger share
            of the steps in the same trajectories (for example short ones, because of a minimum
            budget).
        jaccard: the mean of (common steps / steps in either selection) over the trajectories in
            which any step is chosen.
        precision: the share of the first selection's steps that the second also chose.
        recall: the share of the second selection's steps that the first also chose.
        beyond_chance: (common - expected) / (most possible - expected). 0 is chance level, 1 is the
            maximum that the two budgets allow.
    """

    num_units: int
    num_trajectories: int
    num_steps: int
    num_first: int
    num_second: int
    num_both: int
    expected_both: float
    kappa: Estimate
    chance_kappa: float | None
    jaccard: Estimate
    chance_jaccard: float | None
    precision: Estimate
    chance_precision: float | None
    recall: Estimate
    chance_recall: float | None
    beyond_chance: Estimate

    @property
    def is_better_than_chance(self) -> bool:
        """Whether `beyond_chance` is above 0, with its whole interval if it has one."""
        value, low = self.beyond_chance.value, self.beyond_chance.low
        return (
            self.num_units >= FEWEST_UNITS
            and value is not None
            and value > 0
            and (low is None or low > 0)
        )


@dataclass(frozen=True, slots=True)
class Overlap:
    """The steps that two selections chose in one trajectory, or in a part of it.

    Overlaps with the same `unit` are resampled together.
    """

    unit: str
    first: frozenset[int]
    second: frozenset[int]
    num_steps: int


def measure_agreement(overlaps: Iterable[Overlap], seed: int = 0) -> Agreement:
    """Measure the agreement over all trajectories."""
    by_unit: dict[str, Floats] = defaultdict(lambda: np.zeros(9))
    num_trajectories = 0
    for overlap in overlaps:
        by_unit[overlap.unit] += _measures(overlap)
        num_trajectories += 1
    units = np.stack(list(by_unit.values())) if by_unit else np.zeros((0, 9))
    total = units.sum(axis=0)

    def ratio(part: int, whole: int) -> Statistic:
        return lambda sums: divide(sums[..., part], sums[..., whole])

    def beyond_chance(sums: Floats) -> Floats:
        expected = sums[..., EXPECTED]
        return divide(sums[..., BOTH] - expected, sums[..., MOST] - expected)

    statistics = {
        "kappa": cohen_kappa,
        "jaccard": ratio(JACCARD, HAS_JACCARD),
        "precision": ratio(BOTH, FIRST),
        "recall": ratio(BOTH, SECOND),
        "beyond_chance": beyond_chance,
    }
    estimates = estimate_statistics(units, list(statistics.values()), seed)
    return Agreement(
        num_units=len(units),
        num_trajectories=num_trajectories,
        num_steps=int(total[STEPS]),
        num_first=int(total[FIRST]),
        num_second=int(total[SECOND]),
        num_both=int(total[BOTH]),
        expected_both=round(float(total[EXPECTED]), 6),
        **dict(zip(statistics, estimates, strict=True)),
        # Kappa is linear in BOTH, so kappa at the expected value is the mean of kappa.
        chance_kappa=round_known(cohen_kappa(total[[EXPECTED, FIRST, SECOND, STEPS]])),
        chance_jaccard=round_known(divide(total[CHANCE_JACCARD], total[HAS_JACCARD])),
        chance_precision=round_known(divide(total[EXPECTED], total[FIRST])),
        chance_recall=round_known(divide(total[EXPECTED], total[SECOND])),
    )


def cohen_kappa(sums: Floats) -> Floats:
    """Cohen's kappa (1960) of two yes/no judgments; NaN if both are constant.

    The columns are BOTH, FIRST, SECOND, STEPS.

    >>> round(float(cohen_kappa(np.array([20.0, 25.0, 30.0, 50.0]))), 6)
    0.4
    """
    both, first, second, steps = (sums[..., column] for column in (BOTH, FIRST, SECOND, STEPS))
    observed = divide(steps - first - second + 2 * both, steps)
    share, other = divide(first, steps), divide(second, steps)
    by_chance = share * other + (1 - share) * (1 - other)
    return divide(observed - by_chance, 1 - by_chance)


@lru_cache(maxsize=65_536)
def expected_jaccard(num_first: int, num_second: int, num_steps: int) -> float:
    """The mean Jaccard index of two random draws from `num_steps` steps, not both of them empty.

    >>> expected_jaccard(1, 1, 4)
    0.25
    """
    ways = math.comb(num_steps, num_second)
    fewest, most = max(0, num_first + num_second - num_steps), min(num_first, num_second)
    return math.fsum(
        math.comb(num_first, both)
        * math.comb(num_steps - num_first, num_second - both)
        / ways
        * both
        / (num_first + num_second - both)
        for both in range(fewest, most + 1)
    )


def _measures(overlap: Overlap) -> Floats:
    first, second, steps = len(overlap.first), len(overlap.second), overlap.num_steps
    both = len(overlap.first & overlap.second)
    expected = first * second / steps if steps else 0.0
    either = first + second - both
    of_either = (
        (both / either, expected_jaccard(first, second, steps), 1) if either else (0.0, 0.0, 0)
    )
    row = [both, first, second, steps, expected, min(first, second), *of_either]
    return np.array(row, dtype=np.float64)
