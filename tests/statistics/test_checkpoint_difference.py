"""The difference of two checkpoints: McNemar's test, its interval, and what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.statistics.checkpoint_difference import checkpoint_difference

stats = pytest.importorskip("scipy.stats", reason="the report extra is not installed")


def discordant(higher: int, lower: int, num_tasks: int = 200) -> tuple[list[float], list[float]]:
    ties = num_tasks - higher - lower
    return [1.0] * higher + [0.0] * (lower + ties), [0.0] * higher + [1.0] * lower + [0.0] * ties


@pytest.mark.parametrize(
    ("higher", "lower", "exact", "mid"),
    # Computed with statsmodels 0.15 (mcnemar, exact) and by hand (Fagerland et al. 2013).
    [(7, 1, 0.0703125, 0.0390625), (9, 2, 0.0654297, 0.0385742), (12, 4, 0.0768127, 0.0490417)],
)
def test_p_values_equal_the_published_test(
    higher: int, lower: int, exact: float, mid: float
) -> None:
    found = checkpoint_difference(*discordant(higher, lower))
    assert (found.p_exact, found.p_mid) == pytest.approx((exact, mid), abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_p_values_equal_those_of_scipy(higher: int, lower: int) -> None:
    found = checkpoint_difference(*discordant(higher, lower, 130))
    num = higher + lower
    expected = stats.binomtest(higher, num).pvalue if num else 1.0
    assert found.p_exact == pytest.approx(expected)
    fewer = min(higher, lower)
    if 2 * fewer < num:
        mid = 2 * stats.binom.cdf(fewer, num, 0.5) - stats.binom.pmf(fewer, num, 0.5)
        assert found.p_mid == pytest.approx(mid)


def test_the_interval_is_that_of_bonett_and_price() -> None:
    found = checkpoint_difference(*discordant(12, 4)).difference
    more, less = 13 / 202, 5 / 202
    reach = 1.959964 * math.sqrt((more + less - (more - less) ** 2) / 202)
    assert found.limits == pytest.approx((more - less - reach, more - less + reach), abs=1e-6)
    assert found.value == pytest.approx(0.04)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.booleans(), st.sampled_from([1, 3]))
def test_swapping_the_checkpoints_turns_the_sign(
    seed: int, num_tasks: int, is_score: bool, num_strata: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random(num_tasks) for _ in range(2))
    if not is_score:
        a, b = np.round(a), np.round(b)
    strata = rng.integers(0, num_strata, num_tasks).tolist()
    forward = checkpoint_difference(a, b, strata=strata)
    backward = checkpoint_difference(b, a, strata=strata)
    assert forward.difference.limits is not None
    assert backward.difference.limits is not None
    low, high = forward.difference.limits
    assert -1 <= low < high <= 1
    assert backward.difference.limits == pytest.approx((-high, -low))
    assert forward.p_exact == pytest.approx(backward.p_exact)
    assert forward.tipping_sd == pytest.approx(backward.tipping_sd)
    assert forward.p_mid is not None
    assert forward.p_exact is not None
    assert 0 < forward.p_mid <= forward.p_exact <= 1


def test_nothing_in_common_is_unknown_and_ties_are_no_difference() -> None:
    nothing = checkpoint_difference([1.0, math.nan], [math.nan, 0.0])
    assert (nothing.num_tasks, nothing.p_exact, nothing.difference.value) == (0, None, None)
    ties = checkpoint_difference([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    assert (ties.p_exact, ties.p_mid, ties.num_tied, ties.tipping_sd) == (1.0, 1.0, 3, 0.0)
    assert ties.difference.limits is not None
    one = checkpoint_difference([1.0], [0.0])
    assert one.p_exact == 1.0
    assert one.difference.low is not None
    assert one.difference.low < 0
    with pytest.raises(ValueError, match="same tasks"):
        checkpoint_difference([1.0], [1.0, 0.0])


@pytest.mark.parametrize(("higher", "lower"), [(7, 1), (9, 2), (4, 0), (60, 38), (70, 30)])
def test_the_tipping_sd_is_the_noise_of_seeds_that_makes_the_difference_chance(
    higher: int, lower: int
) -> None:
    found = checkpoint_difference(*discordant(higher, lower))
    assert found.difference.low is not None
    assert found.tipping_sd is not None
    assert (found.tipping_sd > 0) == (found.difference.low > 0)
    untuned = checkpoint_difference(*discordant(higher, lower), trained=(False, False))
    assert untuned.tipping_sd is None
    half = checkpoint_difference(*discordant(higher, lower), trained=(True, False))
    assert half.tipping_sd == pytest.approx(math.sqrt(2) * found.tipping_sd)


def test_strata_of_equal_size_are_tested_as_one() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random(100) < 0.6).astype(float), (rng.random(100) < 0.4).astype(float)
    alike = checkpoint_difference(a, b, strata=[task % 5 for task in range(100)])
    assert alike.p_exact == checkpoint_difference(a, b).p_exact


def test_all_signs_and_drawn_signs_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random(60) < 0.6).astype(float), (rng.random(60) < 0.4).astype(float)
    strata = [int(task > 20) for task in range(60)]
    counted = checkpoint_difference(a, b, strata=strata)
    monkeypatch.setattr("atlas.statistics.checkpoint_difference.MOST_OUTCOMES", 0)
    drawn = checkpoint_difference(a, b, strata=strata)
    assert drawn.p_exact == pytest.approx(counted.p_exact, abs=0.01)
    assert drawn.p_mid == pytest.approx(counted.p_mid, abs=0.01)
    assert drawn == checkpoint_difference(a, b, strata=strata)


def test_signs_are_flipped_as_in_a_table_of_all_flips() -> None:
    each = np.array([0.5, -0.25, 0.75, 0.5, 1.0])
    signs = np.array(np.meshgrid(*[[1, -1]] * 5)).reshape(5, -1)
    sums = np.abs((signs * np.abs(each)[:, None]).sum(axis=0))
    found = checkpoint_difference(each, np.zeros(5))
    assert found.p_exact == pytest.approx(np.mean(sums >= abs(each.sum()) - 1e-9))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.9, 0.95]))
def test_an_interval_beside_a_test_that_finds_nothing_holds_0(
    num_tasks: int, higher: int, lower: int, confidence: float
) -> None:
    higher = min(higher, num_tasks)
    given_tasks = discordant(higher, min(lower, num_tasks - higher), num_tasks)
    found = checkpoint_difference(*given_tasks, confidence=confidence)
    assert found.difference.limits is not None
    assert found.p_exact is not None
    low, high = found.difference.limits
    if found.p_exact >= 1 - confidence:
        assert low <= 0 <= high
        assert not found.tipping_sd
