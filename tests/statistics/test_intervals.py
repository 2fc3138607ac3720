"""The claims of the intervals, against published values, closed forms and a small simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.statistics.checkpoint_difference import checkpoint_difference
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval, wilson_interval

rates = st.integers(1, 400).flatmap(
    lambda trials: st.tuples(st.integers(0, trials), st.just(trials))
)
outcomes = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=30)


# Newcombe, Statistics in Medicine 17 (1998), table I, method 3
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_the_published_values(
    successes: int, trials: int, low: float, high: float
) -> None:
    interval = wilson_interval(successes, trials)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@given(rates)
def test_wilson_limits_solve_the_score_equation(counts: tuple[int, int]) -> None:
    successes, trials = counts
    interval = wilson_interval(successes, trials)
    z = 1.959963984540054
    for limit in (interval.low, interval.high):
        assert (interval.value - limit) ** 2 == pytest.approx(
            z * z * limit * (1 - limit) / trials, abs=1e-9
        )


@given(rates, st.floats(0.5, 0.98))
def test_wilson_interval_holds_the_rate_within_zero_and_one_and_grows_with_confidence(
    counts: tuple[int, int], confidence: float
) -> None:
    narrow = wilson_interval(*counts, confidence=confidence)
    wide = wilson_interval(*counts, confidence=0.99)
    assert 0 <= wide.low <= narrow.low <= narrow.value <= narrow.high <= wide.high <= 1
    assert narrow.low < narrow.high


def test_no_trials_leave_everything_unknown() -> None:
    assert wilson_interval(0, 0) == Estimate()


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= successes <= trials"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_that_is_no_share_is_refused(confidence: float) -> None:
    for measure in (
        lambda: wilson_interval(1, 2, confidence),
        lambda: bootstrap_interval([1.0], 0, confidence=confidence),
        lambda: checkpoint_difference([1.0], [0.0], confidence=confidence),
    ):
        with pytest.raises(ValueError, match="between 0 and 1"):
            measure()


def test_bootstrap_of_a_mean_equals_the_normal_theory_interval_on_many_values() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, size=400)
    interval = bootstrap_interval(values, seed=1)
    half_width = 1.96 * values.std() / math.sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half_width, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half_width, abs=0.02)


@settings(max_examples=40)
@given(outcomes, st.integers(0, 5))
def test_bootstrap_interval_stays_within_the_values_and_is_the_same_for_the_same_seed(
    values: list[float], seed: int
) -> None:
    interval = bootstrap_interval(values, seed, resamples=200)
    assert (interval.limits is None) == (len(set(values)) == 1)
    if interval.limits is not None:
        low, high = interval.limits
        assert min(values) <= low <= high <= max(values)
    assert repr(interval) == repr(bootstrap_interval(values, seed, resamples=200))


@settings(max_examples=40)
@given(outcomes)
def test_a_missing_value_is_left_out_and_never_counted_as_zero(values: list[float]) -> None:
    assert repr(bootstrap_interval([*values, math.nan], seed=0, resamples=50)) == repr(
        bootstrap_interval(values, seed=0, resamples=50)
    )
    assert bootstrap_interval(
        [values, [math.nan] * len(values)], seed=0, resamples=50
    ).value == pytest.approx(np.mean(values))


def test_nothing_to_estimate_from_gives_none_and_no_warning() -> None:
    assert bootstrap_interval([], seed=0) == Estimate()
    assert bootstrap_interval([math.nan, math.nan], seed=0) == Estimate()


def test_resamples_do_not_depend_on_how_they_are_cut_into_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).normal(size=30)
    whole = bootstrap_interval(values, seed=2, resamples=500)
    monkeypatch.setattr("atlas.statistics.bootstrap.CHUNK_ELEMENTS", 300)
    assert bootstrap_interval(values, seed=2, resamples=500) == whole


def test_variance_between_few_runs_is_not_underestimated() -> None:
    # s² = 1/2, so the standard error of the mean is 1/2: drawing 2 of 2 would give 0.35.
    runs = np.array([[0.0] * 20, [1.0] * 20])
    interval = bootstrap_interval(runs, seed=0)
    assert (interval.low, interval.high) == (0.0, 1.0)
