"""The average of estimates that count alike."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import wilson_interval
from atlas.statistics.macro_average import average_estimates

trials = st.integers(1, 300)
rates = st.lists(
    trials.flatmap(
        lambda n: st.integers(0, n).map(lambda k, n=n: wilson_interval(k, n))  # type: ignore[misc]
    ),
    min_size=1,
    max_size=12,
)


@given(rates)
def test_an_average_is_the_mean_and_its_limits_surround_it_within_those_of_rates(
    estimates: list[Estimate],
) -> None:
    found = average_estimates(estimates)
    values = [estimate.value for estimate in estimates]
    assert found.value == pytest.approx(sum(values) / len(values))  # type: ignore[arg-type]
    assert min(values) - 1e-12 <= found.value <= max(values) + 1e-12  # type: ignore[operator,type-var]
    assert found.low <= found.value <= found.high  # type: ignore[operator]
    assert found.low >= min(estimate.low for estimate in estimates) - 1e-12  # type: ignore[operator,type-var]
    assert found.high <= max(estimate.high for estimate in estimates) + 1e-12  # type: ignore[operator,type-var]


@given(rates, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_an_unknown_estimate_is_left_out(
    estimates: list[Estimate], rng: object
) -> None:
    shuffled = [Estimate(), *estimates]
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = average_estimates(estimates), average_estimates(shuffled)
    for name in ("value", "low", "high"):
        assert getattr(first, name) == pytest.approx(getattr(second, name))


@given(trials, trials, st.floats(0, 1))
def test_a_world_counts_alike_however_many_episodes_it_has(
    few: int, many: int, share: float
) -> None:
    small, large = wilson_interval(0, few), wilson_interval(share * many, many)
    found = average_estimates([small, large])
    assert found.value == pytest.approx(large.value / 2)  # type: ignore[operator]


@given(rates)
def test_averages_of_averages_have_the_limits_of_the_whole_if_the_parts_are_alike(
    estimates: list[Estimate],
) -> None:
    nested = average_estimates(average_estimates(estimates) for _ in range(4))
    flat = average_estimates(estimates * 4)
    for name in ("value", "low", "high"):
        assert getattr(nested, name) == pytest.approx(getattr(flat, name), abs=1e-12)


def test_nothing_and_estimates_without_interval() -> None:
    assert average_estimates([]) == Estimate()
    assert average_estimates([Estimate()]) == Estimate()
    found = average_estimates([Estimate(value=1.0), Estimate(value=0.0, low=0.0, high=0.5)])
    assert (found.value, found.limits) == (0.5, None)


def test_limits_of_a_mean_cover_as_often_as_they_say() -> None:
    """Exact over two binomials of 20 trials: 95 % within two points."""
    covered = 0.0
    n, p, q = 20, 0.3, 0.9
    for a in range(n + 1):
        for b in range(n + 1):
            chance = (
                math.comb(n, a) * p**a * (1 - p) ** (n - a)
                * math.comb(n, b) * q**b * (1 - q) ** (n - b)
            )  # fmt: skip
            found = average_estimates([wilson_interval(a, n), wilson_interval(b, n)])
            covered += chance * (found.low <= (p + q) / 2 <= found.high)  # type: ignore[operator]
    assert 0.93 <= covered <= 0.97
