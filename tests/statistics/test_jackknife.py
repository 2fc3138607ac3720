"""Intervals of sums over units: known cases, and no interval where none can be had."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.statistics.estimate import Estimate
from atlas.statistics.jackknife import FEWEST_UNITS, ratio_of_sums, sum_by_unit

pytest.importorskip("scipy", reason="the report extra is not installed")
SHARE = 0.0, 1.0


def test_of_a_mean_it_is_the_interval_of_student() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).normal(size=30)
    found = ratio_of_sums(values, np.ones(30), (-np.inf, np.inf))
    expected = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    assert found.limits == pytest.approx(expected, abs=1e-6)


def test_a_ratio_of_nothing_is_unknown_and_of_equal_units_has_no_interval() -> None:
    assert ratio_of_sums(np.zeros(0), np.zeros(0), SHARE) == Estimate()
    assert ratio_of_sums(np.ones(40), np.full(40, 2.0), SHARE) == Estimate(value=0.5)
    alone = np.array([1.0] + [0.0] * 40)
    assert ratio_of_sums(alone, alone, SHARE) == Estimate(value=1.0), "one unit holds everything"


def test_few_units_have_no_interval_and_none_leaves_its_bounds() -> None:
    parts = np.array([1.0, 0.0] * FEWEST_UNITS)
    wholes = np.ones(2 * FEWEST_UNITS)
    few = FEWEST_UNITS - 1
    assert ratio_of_sums(parts[:few], wholes[:few], SHARE).limits is None
    assert ratio_of_sums(parts[: few + 1], wholes[: few + 1], SHARE).limits is not None
    nearly = np.array([1.0] * 39 + [0.0])
    assert ratio_of_sums(nearly, np.ones(40), SHARE).high == 1.0


def test_rows_of_a_unit_are_summed() -> None:
    rows = np.arange(8.0).reshape(4, 2)
    assert sum_by_unit(rows, ["a", "b", "a", "a"]).tolist() == [[10, 13], [2, 3]]
