"""The difference of two methods: what must hold for any arms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.statistics.checkpoint_difference import checkpoint_difference
from atlas.statistics.crossed_difference import (
    SeedVariance,
    crossed_difference,
    estimate_seed_variance,
)
from atlas.statistics.rates import success_rate
from atlas.statistics.task_differences import mean_variance

RNG = np.random.default_rng(3)
RUNS = [(RNG.random((3, 60)) < 0.4).astype(float) for _ in range(3)]
SEEDS = estimate_seed_variance(RUNS)
assert SEEDS is not None
# Two arms whose seeds vary much, and one near 0 whose seeds hardly can.
RATES = ((0.3, 0.5, 0.7), (0.35, 0.5, 0.65), (0.03, 0.03, 0.03))


def limits(a: object, b: object, **given: object) -> tuple[float, float]:
    found = crossed_difference(a, b, **given).difference  # type: ignore[arg-type]
    assert found.limits is not None
    return found.limits


def test_the_variance_of_seeds_is_that_of_run_means_and_its_noise_that_of_a_two_way_table() -> None:
    squares, noise = 0.0, 0.0
    for runs in RUNS:
        squares += runs.mean(axis=1).var(ddof=1)
        left = runs - runs.mean(axis=0) - runs.mean(axis=1, keepdims=True) + runs.mean()
        noise += (left**2).sum() / (2 * 59) / 60
    assert (SEEDS.variance, SEEDS.noise) == pytest.approx((squares / 3, noise / 3))
    assert SEEDS.degrees == 6
    assert SEEDS.seed_sd == pytest.approx(math.sqrt(max(0, (squares - noise) / 3)))


def test_the_variance_lies_between_the_bounds_of_either_kind_of_noise() -> None:
    found = crossed_difference(RUNS[0], RUNS[1], seeds=SEEDS)
    each = RUNS[0].mean(axis=0) - RUNS[1].mean(axis=0)
    of_tasks, of_runs = each.var(ddof=1) / 60, 2 / 3 * SEEDS.variance
    unbiased = of_tasks + 2 / 3 * (SEEDS.variance - SEEDS.noise)
    expected = (max(of_tasks, unbiased) + max(of_runs, unbiased)) / 2
    # The three arms have similar rates, so their seeds are pooled, scaled to each rate.
    assert found.variance == pytest.approx(expected, rel=0.05)


def test_swapping_the_arms_turns_the_sign_and_nothing_else() -> None:
    forward = crossed_difference(RUNS[0], RUNS[1][:2], seeds=SEEDS, trained=(True, False))
    backward = crossed_difference(RUNS[1][:2], RUNS[0], seeds=SEEDS, trained=(False, True))
    assert forward.difference.value == pytest.approx(-(backward.difference.value or 0))
    low, high = limits(RUNS[0], RUNS[1][:2], seeds=SEEDS, trained=(True, False))
    turned = limits(RUNS[1][:2], RUNS[0], seeds=SEEDS, trained=(False, True))
    assert turned == pytest.approx((-high, -low))
    assert forward.p_value == pytest.approx(backward.p_value)
    assert (forward.num_higher, forward.num_lower) == (backward.num_lower, backward.num_higher)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(2, 30),
    st.sampled_from([0.0, 0.02, 0.3, 0.97, 1.0]),
    st.sampled_from([0.0, 0.3]),
)
def test_p_value_and_interval_agree_for_any_arms(
    seed: int, num_runs: int, num_tasks: int, rate: float, broken: float
) -> None:
    rng = np.random.default_rng(seed)
    arms = [(rng.random((num_runs, num_tasks)) < one).astype(float) for one in (rate, 0.4)]
    for arm in arms:
        arm[rng.random(arm.shape) < broken] = np.nan
    seeds = SeedVariance(0.002, 0.001, 4)
    found = crossed_difference(*arms, seeds=seeds, strata=rng.integers(0, 3, num_tasks).tolist())
    if found.p_value is None:
        assert found.difference.limits is None
        return
    assert found.difference.limits is not None
    low, high = found.difference.limits
    value = found.difference.value
    assert value is not None
    assert -1 <= low <= value <= high <= 1
    assert low < high
    assert 0 < found.p_value <= 1
    if abs(found.p_value - 0.05) > 1e-6:
        assert (low > 0 or high < 0) == (found.p_value < 0.05)


def test_identical_arms_show_no_difference_and_keep_a_width() -> None:
    same = np.ones((3, 40))
    found = crossed_difference(same, same, seeds=SEEDS)
    assert found.p_value == 1.0
    low, high = limits(same, same, seeds=SEEDS)
    assert low < -0.005 < 0.005 < high


@pytest.mark.parametrize("num_tasks", [25, 40, 200])
@pytest.mark.parametrize("num_runs", [1, 3, 10])
def test_runs_of_the_same_tasks_are_no_more_tasks(num_tasks: int, num_runs: int) -> None:
    """Methods that differ on a few tasks only may have drawn none of them, in all runs."""
    same = np.tile(np.arange(num_tasks) % 3 == 0, (num_runs, 1)).astype(float)
    low, _ = limits(same, same, seeds=SeedVariance(0.0, 0.0, 8))
    # With this probability a task of a share q is among those drawn.
    unseen = 1 - 0.025 ** (1 / num_tasks)
    assert low < -0.6 * unseen


def test_the_seed_sd_is_the_one_in_the_interval() -> None:
    """An arm near 0 lends its small noise of seeds to no arm near 0.5."""
    rng = np.random.default_rng(0)
    arms = [(rng.random((3, 200)) < np.array(rates)[:, None]).astype(float) for rates in RATES]
    seeds = estimate_seed_variance(arms)
    assert seeds is not None
    found = crossed_difference(arms[0], arms[1], seeds=seeds)
    alone = estimate_seed_variance(arms[:2])
    assert alone is not None
    assert found.seed_sd == pytest.approx(alone.seed_sd, rel=0.1)
    assert found.seed_sd is not None
    assert found.seed_sd > 1.2 * seeds.seed_sd
    assumed = crossed_difference(arms[0], arms[1], seeds=None, assumed_seed_sd=0.0325)
    assert assumed.seed_sd == 0.0325


def test_a_few_tasks_that_all_agree_are_no_proof() -> None:
    none = SeedVariance(0.0, 0.0, 4)
    for num in (2, 3, 5):
        found = crossed_difference(np.ones((3, num)), np.zeros((3, num)), seeds=none)
        assert found.p_value is not None
        assert found.p_value >= 2.0 ** (1 - num)
        assert found.difference.low is not None
        assert found.difference.low <= 0
    many = crossed_difference(np.ones((3, 20)), np.zeros((3, 20)), seeds=none)
    assert many.p_value is not None
    assert many.p_value < 0.001


@pytest.mark.parametrize(("a", "b"), [([[1.0]], [[0.0]]), ([[math.nan]], [[1.0]]), ([[]], [[]])])
def test_one_task_or_none_gives_no_interval(a: list[list[float]], b: list[list[float]]) -> None:
    found = crossed_difference(a, b, seeds=SEEDS)
    assert found.difference.limits is None
    assert found.p_value is None


def test_an_untuned_model_adds_no_noise_of_seeds() -> None:
    loud = SeedVariance(0.01, 0.001, 4)
    both = crossed_difference(RUNS[0], RUNS[1], seeds=loud).variance
    one = crossed_difference(RUNS[0], RUNS[1], seeds=loud, trained=(True, False)).variance
    none = crossed_difference(RUNS[0], RUNS[1], seeds=None, trained=(False, False)).variance
    assert both is not None
    assert one is not None
    assert none is not None
    assert both > one > none


def test_a_stated_seed_sd_is_added_as_it_is() -> None:
    a, b = RUNS[0][0], RUNS[1][0]
    known = crossed_difference(a, b, seeds=None, assumed_seed_sd=0.04).variance
    tasks = (a - b).var(ddof=1) / 60
    assert known == pytest.approx(tasks + 2 * 0.04**2)


@pytest.mark.parametrize("given", [{"seeds": None}, {"seeds": SEEDS, "assumed_seed_sd": 0.01}])
def test_a_difference_of_methods_needs_one_source_of_the_noise(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="either"):
        crossed_difference(RUNS[0], RUNS[1], **given)  # type: ignore[arg-type]


def test_arms_lend_their_noise_of_seeds_to_arms_with_similar_rates_only() -> None:
    rng = np.random.default_rng(0)
    # Runs at 50 % that vary much, and runs at 3 % that do not.
    loud = np.stack([(rng.random(400) < rate).astype(float) for rate in (0.35, 0.5, 0.65)])
    quiet = [np.stack([(rng.random(400) < 0.03).astype(float) for _ in range(3)]) for _ in range(2)]
    pooled = estimate_seed_variance([loud, *quiet])
    assert pooled is not None
    near_zero = crossed_difference(*quiet, seeds=pooled)
    assert near_zero.variance is not None
    assert near_zero.variance < 0.1 * pooled.variance
    only = estimate_seed_variance([loud])
    middle = crossed_difference(loud, loud[::-1], seeds=pooled).variance
    assert middle == pytest.approx(crossed_difference(loud, loud[::-1], seeds=only).variance)


def test_scores_on_any_scale_are_compared() -> None:
    rng = np.random.default_rng(1)
    a, b = 50 + 10 * rng.random((3, 40)), 40 + 10 * rng.random((3, 40))
    seeds = estimate_seed_variance([a, b])
    low, high = limits(a, b, seeds=seeds)
    assert 5 < low < 10 < high < 15


def test_strata_count_alike() -> None:
    # 90 tasks where a is better, 10 where it is worse.
    a = np.array([[1.0] * 90 + [0.0] * 10] * 3)
    strata = [0] * 90 + [1] * 10
    found = crossed_difference(a, 1 - a, strata=strata, seeds=SEEDS)
    assert found.difference.value == pytest.approx(0.0)
    assert crossed_difference(a, 1 - a, seeds=SEEDS).difference.value == pytest.approx(0.8)


@pytest.mark.parametrize("strata", [None, [task % 3 for task in range(60)]])
def test_a_run_without_a_valid_episode_is_none(strata: list[int] | None) -> None:
    broken = np.vstack([RUNS[0], np.full(60, math.nan)])
    assert estimate_seed_variance([broken], strata) == estimate_seed_variance([RUNS[0]], strata)
    assert estimate_seed_variance([broken[2:]], strata) is None
    given = {"strata": strata, "seeds": SEEDS}
    assert crossed_difference(broken, RUNS[1], **given) == crossed_difference(  # type: ignore[arg-type]
        RUNS[0],
        RUNS[1],
        **given,  # type: ignore[arg-type]
    )
    assert checkpoint_difference(broken, RUNS[1], strata=strata) == checkpoint_difference(
        RUNS[0], RUNS[1], strata=strata
    )
    found, expected = (success_rate(one, strata=strata) for one in (broken, RUNS[0]))
    assert found.rate.limits == pytest.approx(expected.rate.limits)
    assert found.covers_seeds
    assert not success_rate(broken[2:]).covers_seeds


def test_a_run_with_few_valid_episodes_counts_little() -> None:
    loud = SeedVariance(0.01, 0.0, 4)
    few = RUNS[0].copy()
    few[2, 6:] = math.nan
    three = crossed_difference(RUNS[0], RUNS[1], seeds=loud).variance
    two = crossed_difference(RUNS[0][:2], RUNS[1], seeds=loud).variance
    between = crossed_difference(few, RUNS[1], seeds=loud).variance
    assert three is not None
    assert two is not None
    assert between is not None
    assert three < between
    assert between == pytest.approx(two, rel=0.1)


@pytest.mark.parametrize("factor", [100.0, 1e6])
@pytest.mark.parametrize("differ", [0, 3, 60])
def test_scores_in_another_unit_give_the_same_in_that_unit(factor: float, differ: int) -> None:
    rng = np.random.default_rng(5)
    a = np.full((3, 60), 2.0)
    b = a.copy()
    b[:, :differ] += rng.random((3, differ))
    seeds = estimate_seed_variance([a, b])
    first = crossed_difference(a, b, seeds=seeds)
    scaled = estimate_seed_variance([factor * a, factor * b])
    second = crossed_difference(factor * (a + 5), factor * (b + 5), seeds=scaled)
    assert first.p_value == pytest.approx(second.p_value, rel=1e-6)
    if differ:
        assert first.difference.limits is not None
        expected = [factor * limit for limit in first.difference.limits]
        assert second.difference.limits == pytest.approx(expected, rel=1e-6)


def test_strata_with_one_task_each_have_one_estimate_of_the_variance() -> None:
    each = np.random.default_rng(6).standard_normal(12)
    variance, degrees = mean_variance(each, np.arange(12))
    assert variance == pytest.approx(each.var(ddof=1) / 12)
    assert degrees == pytest.approx(11)


def test_broken_episodes_cost_only_themselves_in_the_variance_of_seeds() -> None:
    draw = np.random.default_rng(5)
    whole, broken = [], []
    for _ in range(200):
        runs = (draw.random((5, 60)) < 0.4).astype(float)
        holes = np.where(draw.random(runs.shape) < 0.3, np.nan, runs)
        for values, found in ((runs, whole), (holes, broken)):
            seeds = estimate_seed_variance([values])
            assert seeds is not None
            found.append((seeds.variance, seeds.noise, seeds.degrees))
    (variance, noise, degrees), (with_holes, noise_with_holes, same) = (
        np.mean(found, axis=0) for found in (whole, broken)
    )
    assert degrees == same == 4
    # 70 % of the episodes are left. Of the tasks, only 17 % were played by all five runs.
    assert noise_with_holes == pytest.approx(noise / 0.7, rel=0.05)
    # Its estimate errs to the wide side where seeds are alike.
    assert variance / 0.7 < with_holes < 1.25 * variance / 0.7


def test_runs_without_a_task_in_common_say_nothing_about_seeds() -> None:
    apart = [[1.0, 0.0, math.nan, math.nan], [math.nan, math.nan, 1.0, 1.0]]
    assert estimate_seed_variance([apart]) is None
    chained = [*apart, [0.0, 1.0, 1.0, 0.0]]
    seeds = estimate_seed_variance([chained])
    assert seeds is not None
    assert seeds.degrees == 2
    # Two pairs of runs that share no task: each says something, but nothing of the other.
    half = [math.nan] * 2
    pairs = [[1.0, 0.0, *half], [0.0, 0.0, *half], [*half, 1.0, 1.0], [*half, 0.0, 1.0]]
    seeds = estimate_seed_variance([pairs])
    assert seeds is not None
    assert seeds.degrees == 2


def test_a_run_with_hardly_an_episode_changes_little_of_what_is_known_about_seeds() -> None:
    draw = np.random.default_rng(6)
    for _ in range(20):
        runs = (draw.random((5, 200)) < 0.4).astype(float)
        runs[4, 1:] = np.nan
        few, without = estimate_seed_variance([runs]), estimate_seed_variance([runs[:4]])
        assert few is not None
        assert without is not None
        assert few.seed_sd == pytest.approx(without.seed_sd, abs=0.005)
        assert few.degrees <= without.degrees
