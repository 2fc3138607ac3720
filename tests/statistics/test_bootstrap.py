"""All intervals come from one bootstrap; its draws never change for a seed."""

from __future__ import annotations

import random

import numpy as np
import pytest

from atlas.statistics.agreement import Overlap, measure_agreement
from atlas.statistics.bootstrap import bootstrap_ratio
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval


def limits(estimate: Estimate) -> tuple[float, float]:
    assert estimate.limits is not None
    return estimate.limits


def test_intervals_of_a_seed_are_these_numbers_on_every_machine() -> None:
    rng = np.random.default_rng(0)
    runs = (rng.random((3, 40)) < 0.4).astype(float)
    runs[0, 3] = np.nan
    one = bootstrap_interval(runs[1], seed=2, resamples=500)
    assert (one.value, *limits(one)) == pytest.approx((0.425, 0.25, 0.575))
    several = bootstrap_interval(runs, seed=2, resamples=500)
    assert (several.value, *limits(several)) == pytest.approx((0.3375, 0.175, 0.5))


def test_agreement_of_a_seed_is_these_numbers_on_every_machine() -> None:
    rng = random.Random(1)

    def draw(num_steps: int) -> frozenset[int]:
        return frozenset(rng.sample(range(num_steps), max(1, num_steps // 3)))

    sizes = [rng.randint(3, 20) for _ in range(40)]
    agreement = measure_agreement(
        [
            Overlap(str(place // 2), draw(size), draw(size), size)
            for place, size in enumerate(sizes)
        ],
        seed=5,
    )
    assert agreement.kappa == Estimate(value=-0.002243, low=-0.078263, high=0.068627)
    assert agreement.jaccard == Estimate(value=0.242614, low=0.165637, high=0.329661)
    assert agreement.precision == Estimate(value=0.309859, low=0.252092, high=0.363072)
    assert agreement.beyond_chance == Estimate(value=-0.004615, low=-0.081839, high=0.066976)


def test_a_ratio_of_nothing_is_unknown() -> None:
    assert bootstrap_ratio(np.zeros(0), np.zeros(0), seed=0) == Estimate()
    assert bootstrap_ratio(np.ones(3), np.full(3, 2.0), seed=0) == Estimate(value=0.5)


def test_an_estimate_has_limits_only_where_both_are_known() -> None:
    assert Estimate(value=0.5, low=0.25, high=0.75).limits == (0.25, 0.75)
    assert Estimate(value=0.5).limits is None
