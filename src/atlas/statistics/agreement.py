"""How much two selections of the same trajectories agree, beyond the agreement expected by chance.

There are two kinds of chance. By uniform chance, two selectors draw `a` and `b` of the `n` steps of
a trajectory; the number of common steps then has a hypergeometric distribution with mean a * b / n,
and all figures are exact. By position, they also know where in a trajectory each selection tends to
choose (atlas.statistics.position_chance): two selectors that both like the last steps agree far
beyond uniform chance, and not beyond this one. Both are computed for each trajectory from the
number of steps that each selection chose there, so selections with different budgets can be
compared. The units of the intervals are tasks, because trajectories of one task are alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from atlas.records import Record
from atlas.statistics.bootstrap import Floats, divide, round_known
from atlas.statistics.estimate import Estimate
from atlas.statistics.jackknife import FEWEST_UNITS, SumStatistic, estimate_from_sums, sum_by_unit
from atlas.statistics.position_chance import ChosenSteps, expected_by_position

BOTH, FIRST, SECOND, STEPS, EXPECTED, MOST, JACCARD, CHANCE_JACCARD, HAS_JACCARD, BY_POSITION = (
    range(10)
)
# If chance explains all but this share of the most possible, nothing can be said beyond it.
LEAST_ROOM = 0.02


class Agreement(Record):
    """The agreement of two selections. Below 20 units, no interval is given.

    Attributes:
        num_units: tasks.
        expected_by_position: the common steps of two selectors that know where each selection
            tends to choose, and nothing else.
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
        beyond_position: the same beyond `expected_by_position`; none if the positions explain
            nearly all that the budgets allow.
        num_informative: the tasks in which more steps could be common than by chance.
    """

    num_units: int
    num_trajectories: int
    num_steps: int
    num_first: int
    num_second: int
    num_both: int
    expected_both: float
    expected_by_position: float | None = None
    kappa: Estimate
    chance_kappa: float | None
    jaccard: Estimate
    chance_jaccard: float | None
    precision: Estimate
    chance_precision: float | None
    recall: Estimate
    chance_recall: float | None
    beyond_chance: Estimate
    beyond_position: Estimate = Estimate()
    num_informative: int = 0

    @property
    def is_better_than_chance(self) -> bool:
        """Whether the selections agree beyond uniform chance and beyond chance by position."""
        both = self.beyond_chance, self.beyond_position
        return self.num_informative >= FEWEST_UNITS and all(map(_is_above_0, both))


def _is_above_0(beyond: Estimate) -> bool:
    """Whether the whole interval is; the most possible in every task has none."""
    return beyond.value == 1.0 if beyond.low is None else beyond.low > 0


@dataclass(frozen=True, slots=True)
class Overlap:
    """The steps that two selections chose in one trajectory, or in a part of it.

    Attributes:
        unit: the task. Overlaps of one unit are not independent.
        part: the steps that are looked at; none: all of the trajectory.
    """

    unit: str
    first: frozenset[int]
    second: frozenset[int]
    num_steps: int
    part: frozenset[int] | None = None

    @property
    def chosen(self) -> ChosenSteps:
        """The same within the part."""
        inside = range(self.num_steps) if self.part is None else sorted(self.part)
        kept = frozenset(inside)
        return ChosenSteps(self.unit, self.num_steps, inside, self.first & kept, self.second & kept)


def measure_agreement(overlaps: Iterable[Overlap]) -> Agreement:
    """Measure the agreement over all trajectories."""
    chosen = [overlap.chosen for overlap in overlaps]
    rows = np.array([_measures(one) for one in chosen], dtype=np.float64).reshape(-1, 9)
    rows = np.column_stack([rows, expected_by_position(chosen)])
    units = sum_by_unit(rows, [one.unit for one in chosen])
    total = units.sum(axis=0)

    def ratio(part: int, whole: int) -> SumStatistic:
        return lambda sums: divide(sums[..., part], sums[..., whole])

    def beyond(expected: int) -> SumStatistic:
        def statistic(sums: Floats) -> Floats:
            chance, most = sums[..., expected], sums[..., MOST]
            beyond = divide(sums[..., BOTH] - chance, most - chance)
            return np.where(most - chance < LEAST_ROOM * most, np.nan, beyond)

        return statistic

    share = 0.0, 1.0
    return Agreement(
        num_units=len(units),
        num_informative=int((units[:, MOST] > units[:, EXPECTED]).sum()),
        num_trajectories=len(chosen),
        num_steps=int(total[STEPS]),
        num_first=int(total[FIRST]),
        num_second=int(total[SECOND]),
        num_both=int(total[BOTH]),
        expected_both=round(float(total[EXPECTED]), 6),
        expected_by_position=round(float(total[BY_POSITION]), 6),
        kappa=estimate_from_sums(units, cohen_kappa, (-1.0, 1.0)),
        jaccard=estimate_from_sums(units, ratio(JACCARD, HAS_JACCARD), share),
        precision=estimate_from_sums(units, ratio(BOTH, FIRST), share),
        recall=estimate_from_sums(units, ratio(BOTH, SECOND), share),
        beyond_chance=estimate_from_sums(units, beyond(EXPECTED), (-math.inf, 1.0)),
        beyond_position=estimate_from_sums(units, beyond(BY_POSITION), (-math.inf, 1.0)),
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


def _measures(chosen: ChosenSteps) -> tuple[float, ...]:
    first, second, steps = len(chosen.first), len(chosen.second), len(chosen.steps)
    both = len(chosen.first & chosen.second)
    expected = first * second / steps if steps else 0.0
    either = first + second - both
    of_either = (
        (both / either, expected_jaccard(first, second, steps), 1) if either else (0.0, 0.0, 0)
    )
    return both, first, second, steps, expected, min(first, second), *of_either
