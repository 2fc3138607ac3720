"""How far two selections of the same trajectories agree, beyond what their budgets alone would bring about.

Chance is exact: two selectors that draw `a` and `b` of a trajectory's `n` steps blindly share x of them with the
hypergeometric probability, a * b / n on average. Everything is measured per trajectory at the number of steps that each
selection did choose there, so that a selection with another budget is compared fairly. Intervals answer "what if other
trajectories (or tasks) had been drawn?": percentiles of a bootstrap over them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from atlas.records import Record

RESAMPLES = 2_000
CONFIDENCE = 0.95
CHUNK_ELEMENTS = 2_000_000  # bounds the memory of one block of resamples; fixed, so that the draws never depend on the machine
FEWEST_UNITS = (
    6  # below that no interval can say that something is better than chance: 2 / 2**5 > 0.05
)

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]  # sums over units [..., K] -> values [...]

BOTH, FIRST, SECOND, STEPS, EXPECTED, MOST, JACCARD, CHANCE_JACCARD, HAS_JACCARD = range(9)


class Estimate(Record):
    """A number with its interval; None where it is not defined, or where there was nothing to resample."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Agreement(Record):
    """Two selections side by side. `units` is what was resampled: trajectories, or tasks where several share one."""

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
        """Whether the whole interval of `beyond_chance` is above 0 (or all of its units agree in being above)."""
        value, low = self.beyond_chance.value, self.beyond_chance.low
        return (
            self.num_units >= FEWEST_UNITS
            and value is not None
            and value > 0
            and (low is None or low > 0)
        )


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two sets of chosen steps of one trajectory (or of a part of it) with `num_steps`, and the unit it is resampled with."""

    unit: str
    first: frozenset[int]
    second: frozenset[int]
    num_steps: int


def measure_agreement(overlaps: Iterable[Overlap], seed: int = 0) -> Agreement:
    """Agreement over trajectories.

    kappa          Cohen's, over all steps pooled: chosen or not, by the one and by the other. Blind draws have `chance_kappa`:
                   more than 0 where both choose a larger share of the same trajectories (the short ones, by a least budget)
    jaccard        the mean over trajectories of common steps / steps of either; of trajectories where any is chosen
    precision      the share of the first selection's steps that the second chose too; recall the other way round
    beyond_chance  (common - expected) / (most possible - expected): 0 is chance, 1 the most that the two budgets allow
    """
    by_unit: dict[str, Floats] = defaultdict(lambda: np.zeros(9))
    num_trajectories = 0
    for overlap in overlaps:
        by_unit[overlap.unit] += _measures(
            len(overlap.first & overlap.second),
            len(overlap.first),
            len(overlap.second),
            overlap.num_steps,
        )
        num_trajectories += 1
    units = np.stack(list(by_unit.values())) if by_unit else np.zeros((0, 9))
    total = units.sum(axis=0)
    drawn = _resample(units, seed)

    def estimate(statistic: Statistic) -> Estimate:
        return _estimate(statistic, total, drawn)

    return Agreement(
        num_units=len(units),
        num_trajectories=num_trajectories,
        num_steps=int(total[STEPS]),
        num_first=int(total[FIRST]),
        num_second=int(total[SECOND]),
        num_both=int(total[BOTH]),
        expected_both=round(float(total[EXPECTED]), 6),
        kappa=estimate(cohen_kappa),
        chance_kappa=_number(
            cohen_kappa(total[[EXPECTED, FIRST, SECOND, STEPS]])
        ),  # it is linear in BOTH, so this is its mean
        jaccard=estimate(lambda sums: _ratio(sums[..., JACCARD], sums[..., HAS_JACCARD])),
        chance_jaccard=_number(_ratio(total[CHANCE_JACCARD], total[HAS_JACCARD])),
        precision=estimate(lambda sums: _ratio(sums[..., BOTH], sums[..., FIRST])),
        chance_precision=_number(_ratio(total[EXPECTED], total[FIRST])),
        recall=estimate(lambda sums: _ratio(sums[..., BOTH], sums[..., SECOND])),
        chance_recall=_number(_ratio(total[EXPECTED], total[SECOND])),
        beyond_chance=estimate(
            lambda sums: _ratio(
                sums[..., BOTH] - sums[..., EXPECTED], sums[..., MOST] - sums[..., EXPECTED]
            )
        ),
    )


def cohen_kappa(sums: Floats) -> Floats:
    """Cohen's kappa (1960) of two yes/no judgements; columns BOTH, FIRST, SECOND, STEPS. NaN where both are constant.

    >>> round(float(cohen_kappa(np.array([20.0, 25.0, 30.0, 50.0]))), 6)
    0.4
    """
    both, first, second, steps = (sums[..., column] for column in (BOTH, FIRST, SECOND, STEPS))
    observed = _ratio(steps - first - second + 2 * both, steps)
    share, other = _ratio(first, steps), _ratio(second, steps)
    by_chance = share * other + (1 - share) * (1 - other)
    return _ratio(observed - by_chance, 1 - by_chance)


@lru_cache(maxsize=65_536)
def expected_jaccard(num_first: int, num_second: int, num_steps: int) -> float:
    """The mean Jaccard index of two blind draws of that many of `num_steps`; at least one must draw.

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


def bootstrap_mean(values: Floats, weights: Floats, seed: int) -> Estimate:
    """Sum of values / sum of weights over units [U], with its interval."""
    units = np.stack([values, weights], axis=1) if len(values) else np.zeros((0, 2))
    return _estimate(
        lambda sums: _ratio(sums[..., 0], sums[..., 1]), units.sum(axis=0), _resample(units, seed)
    )


def _measures(both: int, first: int, second: int, steps: int) -> Floats:
    """What one trajectory adds to the sums, in the order of the columns."""
    either = first + second - both
    jaccard, chance, has = (
        (both / either, expected_jaccard(first, second, steps), 1) if either else (0.0, 0.0, 0)
    )
    expected = first * second / steps if steps else 0.0
    return np.array(
        [both, first, second, steps, expected, min(first, second), jaccard, chance, has],
        dtype=np.float64,
    )


def _resample(units: Floats, seed: int) -> Floats:
    """[U, K] -> [RESAMPLES, K]: sums over as many units, drawn with replacement."""
    if len(units) == 0:
        return np.full((RESAMPLES, units.shape[1]), np.nan)
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            rng.multinomial(len(units), np.full(len(units), 1 / len(units)), size=size) @ units
            for size in _sizes(len(units))
        ]
    )


def _sizes(num_units: int) -> Iterator[int]:
    size = max(1, CHUNK_ELEMENTS // num_units)
    for start in range(0, RESAMPLES, size):
        yield min(size, RESAMPLES - start)


def _estimate(statistic: Statistic, total: Floats, drawn: Floats) -> Estimate:
    value = _number(statistic(total))
    values = statistic(drawn)
    known = values[~np.isnan(values)]
    if value is None or known.size == 0 or known.max() - known.min() < 1e-12:
        return Estimate(value=value)
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value=value, low=_number(low), high=_number(high))


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(whole) > 1e-12, part / whole, np.nan)


def _number(value: Floats | float) -> float | None:
    return None if math.isnan(float(value)) else round(float(value), 6)
