"""How many steps two selections have in common if they know nothing but the position.

Each selection chooses a step with a probability that depends on the place of the step in its
trajectory, and the two are independent given the place. A place is a tenth of the trajectory, a
number of steps from its start and one from its end, where five steps and more are alike. The logits
of a place are the sum of the three, and are fitted so that as many steps are chosen in each tenth,
and at each distance from both ends, as in the trajectories of *other* units; in each trajectory the
probabilities add up to the number that was chosen there. Without any preference, this is the
expectation for random draws, a * b / n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.statistics.bootstrap import Floats

TENTHS = 10
# Steps from the start or the end; more are alike.
FARTHEST = 5
# Steps that are added to what is chosen and to what is expected in a place, so that a place that
# nobody chose keeps a chance.
PRIOR_STEPS = 0.1
ROUNDS = 4
STEPS = 30
WIDEST_SHIFT, SMALLEST_SLOPE = 40.0, 1e-12

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChosenSteps:
    """The steps of one trajectory, or of a part of it, that two selections chose.

    Attributes:
        steps: the indices that are looked at, of `num_steps` in the trajectory.
    """

    unit: str
    num_steps: int
    steps: Sequence[int]
    first: frozenset[int]
    second: frozenset[int]


def expected_by_position(chosen: Sequence[ChosenSteps]) -> Floats:
    """The expected number of common steps of each trajectory [N]."""
    sizes = np.array([len(one.steps) for one in chosen], dtype=np.int64)
    if not sizes.sum():
        return np.zeros(len(chosen))
    numbers: dict[str, int] = {}
    units = np.array([numbers.setdefault(one.unit, len(numbers)) for one in chosen])
    rows = np.repeat(np.arange(len(chosen)), sizes)
    steps = np.concatenate([np.array(one.steps, dtype=np.int64) for one in chosen])
    lengths = np.array([one.num_steps for one in chosen])[rows]
    tenths = (2 * steps + 1) * TENTHS // (2 * lengths)
    from_start, from_end = (
        np.minimum(distance, FARTHEST) for distance in (steps, lengths - 1 - steps)
    )
    margins = [(tenths, TENTHS), (from_start, FARTHEST + 1), (from_end, FARTHEST + 1)]
    expected = np.ones(len(rows))
    for sets in ([one.first for one in chosen], [one.second for one in chosen]):
        given = np.array(
            [step in kept for one, kept in zip(chosen, sets, strict=True) for step in one.steps],
            dtype=np.float64,
        )
        expected *= _fit(given, margins, units[rows], rows, sizes)
    return np.bincount(rows, expected, len(chosen)).astype(np.float64)


def _fit(
    given: Floats,
    margins: Sequence[tuple[Integers, int]],
    units: Integers,
    rows: Integers,
    sizes: Integers,
) -> Floats:
    """The probability of each step, fitted to one margin of the other units after another."""
    counts: Floats = np.bincount(rows, given, len(sizes)).astype(np.float64)
    logits = np.zeros(len(given))
    fitted = _shift(logits, rows, counts, sizes)
    for _ in range(ROUNDS):
        for places, number in margins:
            cells = units * number + places
            size = _of_others(cells, np.ones(len(given)), number, units)
            logits += _logit_of_others(cells, given, number, units, size)
            logits -= _logit_of_others(cells, fitted, number, units, size)
            fitted = _shift(logits, rows, counts, sizes)
    return fitted


def _logit_of_others(
    cells: Integers, values: Floats, number: int, units: Integers, size: Floats
) -> Floats:
    """The logit of the mean value at the place of each step in all other units."""
    found = _of_others(cells, values, number, units)
    return np.log(found + PRIOR_STEPS) - np.log(np.maximum(size - found, 0.0) + PRIOR_STEPS)


def _of_others(cells: Integers, values: Floats, number: int, units: Integers) -> Floats:
    """For each step, the sum of the values at its place in all other units."""
    num_units = int(units.max()) + 1
    own = np.bincount(cells, values, num_units * number).reshape(num_units, number)
    # Rounding may leave a sum just below 0.
    others: Floats = np.maximum(own.sum(axis=0) - own, 0.0).ravel()
    return others[cells]


def _shift(logits: Floats, rows: Integers, counts: Floats, sizes: Integers) -> Floats:
    """Shift the logits of each trajectory so that the chances add up to the number chosen."""
    low, high = np.full(len(counts), -WIDEST_SHIFT), np.full(len(counts), WIDEST_SHIFT)
    shift = np.zeros(len(counts))
    for _ in range(STEPS):
        chances = 1 / (1 + np.exp(-(logits + shift[rows])))
        missing = counts - np.bincount(rows, chances, len(counts))
        low, high = np.where(missing > 0, shift, low), np.where(missing > 0, high, shift)
        # A step of Newton, or half of what is left where that would leave it.
        slope = np.bincount(rows, chances * (1 - chances), len(counts))
        shift = shift + missing / np.maximum(slope, SMALLEST_SLOPE)
        shift = np.where((shift > low) & (shift < high), shift, (low + high) / 2)
    fitted = 1 / (1 + np.exp(-(logits + shift[rows])))
    fitted = np.where((counts == 0)[rows], 0.0, fitted)
    return np.where((counts == sizes)[rows], 1.0, fitted)
