"""All intervals come from one bootstrap; its draws never change for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval
from atlas.statistics.paired_difference import paired_bootstrap


def limits(estimate: Estimate) -> tuple[float, float]:
    assert estimate.limits is not None
    return estimate.limits


def test_intervals_of_a_seed_are_these_numbers_on_every_machine() -> None:
    rng = np.random.default_rng(0)
    runs = (rng.random((3, 40)) < 0.4).astype(float)
    runs[0, 3] = np.nan
    other = (rng.random(40) < 0.3).astype(float)
    one = bootstrap_interval(runs[1], seed=2, resamples=500)
    assert (one.value, *limits(one)) == pytest.approx((0.425, 0.25, 0.575))
    several = bootstrap_interval(runs, seed=2, resamples=500)
    assert (several.value, *limits(several)) == pytest.approx((0.3375, 0.175, 0.5))
    paired = paired_bootstrap(runs, other, seed=2, resamples=500).difference
    assert (paired.value, *limits(paired)) == pytest.approx((0.0125, -0.21445101351351, 0.225))


def test_an_estimate_has_limits_only_where_both_are_known() -> None:
    assert Estimate(value=0.5, low=0.25, high=0.75).limits == (0.25, 0.75)
    assert Estimate(value=0.5).limits is None
