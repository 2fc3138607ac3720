"""Rates of one arm, repeated tasks, improvement and groups: what must hold."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from atlas.statistics.group_difference import group_difference, group_seed_variance
from atlas.statistics.improvement import probability_of_improvement
from atlas.statistics.intervals import wilson_interval
from atlas.statistics.rates import success_rate
from atlas.statistics.repeated_tasks import flip_rate, pass_hat_k

stats = pytest.importorskip("scipy.stats", reason="the report extra is not installed")
RUNS = (np.random.default_rng(2).random((3, 40)) < 0.3).astype(float)


def test_one_run_has_the_wilson_interval_of_its_tasks() -> None:
    found = success_rate(RUNS[0])
    expected = wilson_interval(RUNS[0].sum(), 40)
    assert found.rate.limits == pytest.approx(expected.limits)
    theirs = stats.binomtest(int(RUNS[0].sum()), 40).proportion_ci(method="wilson")
    assert found.rate.limits == pytest.approx((theirs.low, theirs.high))
    assert not found.covers_seeds


def test_the_same_run_three_times_is_not_narrower_than_once() -> None:
    once, thrice = (success_rate(runs).rate.limits for runs in (RUNS[0], RUNS[[0, 0, 0]]))
    assert once is not None
    assert thrice is not None
    assert thrice[1] - thrice[0] >= 0.95 * (once[1] - once[0])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_runs_that_are_all_alike_count_each_task_once(value: float) -> None:
    found = success_rate(np.full((4, 25), value))
    assert found.rate.limits == pytest.approx(wilson_interval(25 * value, 25).limits)
    assert found.effective_tasks == pytest.approx(25)


def test_invalid_episodes_and_empty_arms_are_left_out() -> None:
    runs = np.array([[1.0, math.nan, 0.0], [1.0, math.nan, math.nan]])
    found = success_rate(runs)
    assert found.num_tasks == 2
    assert found.rate.value == pytest.approx(0.5)
    assert success_rate([[math.nan]]).rate.value is None
    one = success_rate([[1.0], [0.0], [1.0]])
    assert one.rate.limits is not None


def test_strata_count_alike_in_a_rate() -> None:
    values = [1.0] * 30 + [0.0] * 10
    assert success_rate(values, strata=[0] * 30 + [1] * 10).rate.value == pytest.approx(0.5)


def test_pass_hat_k_is_the_share_of_draws_that_all_succeed() -> None:
    episodes = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [1, 1, 0, math.nan], [1, 0, 0, 1]])
    for k in (1, 2, 3):
        shares = []
        for task in range(4):
            known = [row for row in range(4) if not math.isnan(episodes[row, task])]
            draws = list(itertools.combinations(known, k))
            shares.append(np.mean([all(episodes[row, task] for row in draw) for draw in draws]))
        assert pass_hat_k(episodes, k, seed=0).value == pytest.approx(np.mean(shares))
    assert pass_hat_k(episodes[:, 3:], 4, seed=0).value is None
    with pytest.raises(ValueError, match="at least one"):
        pass_hat_k(episodes, 0, seed=0)


def test_episodes_of_several_checkpoints_are_no_more_tasks() -> None:
    """Copies of a checkpoint tell nothing new: the interval is as wide as with one of them."""
    rng = np.random.default_rng(5)
    once = (rng.random((2, 40)) < rng.random(40)).astype(float)
    for figure in (lambda values: pass_hat_k(values, 2, 0), lambda values: flip_rate(values, 0)):
        one, copies = figure(once), figure(np.stack([once] * 3))
        assert copies.value == pytest.approx(one.value)
        assert copies.limits == pytest.approx(one.limits, abs=0.02)
    different = np.stack([once, once[:, ::-1], once])
    expected = [pass_hat_k(values, 2, 0).value for values in different]
    assert pass_hat_k(different, 2, 0).value == pytest.approx(np.mean(expected))


def test_the_flip_rate_is_the_share_of_pairs_that_differ() -> None:
    episodes = np.array([[1, 1, 0], [1, 0, 0], [1, 1, math.nan]])
    assert flip_rate(episodes, seed=0).value == pytest.approx((0 + 2 / 3 + 0) / 3)
    assert flip_rate([1.0, 0.0], seed=0).value is None


def test_the_probability_of_improvement_is_that_of_all_pairs_of_runs() -> None:
    a, b = RUNS, RUNS[[1, 2]] * 0.5
    wins = np.sign(a.mean(axis=1)[:, None] - b.mean(axis=1)[None, :])
    found = probability_of_improvement(a, b)
    assert found.value == pytest.approx((0.5 + wins / 2).mean())
    assert found.limits is not None
    low, high = found.limits
    assert 0 < low < 1
    assert low < (found.value or 0) <= high <= 1
    turned = probability_of_improvement(b, a)
    assert turned.limits == pytest.approx((1 - high, 1 - low))


def test_improvement_without_runs_or_in_all_of_them() -> None:
    assert probability_of_improvement([[math.nan]], [[1.0]]).value is None
    always = probability_of_improvement(np.ones((5, 40)), np.zeros((5, 40)))
    assert (always.value, always.high) == (1.0, 1.0)
    assert always.low is not None
    assert 0.5 < always.low < 0.9


@pytest.mark.parametrize("runs", [(1, 1), (1, 5), (2, 2), (2, 5), (3, 3)])
def test_improvement_is_open_where_no_order_of_so_few_runs_is_unlikely(
    runs: tuple[int, int],
) -> None:
    found = probability_of_improvement(np.ones((runs[0], 9)), np.zeros((runs[1], 9)))
    assert found.value == 1
    assert found.low is not None
    assert (found.low <= 0.5) == (2 / math.comb(sum(runs), runs[0]) > 0.05)


def test_a_rate_of_scores_is_refused_and_one_of_only_successes_is_1() -> None:
    for values in ([[50.0, 60.0]], [-0.1, 0.3]):
        with pytest.raises(ValueError, match=r"expected successes in \[0, 1\]"):
            success_rate(values)
    all_won = np.ones((3, 30))
    all_won[0, 0] = all_won[1, 1] = math.nan
    found = success_rate(all_won)
    assert (found.rate.value, found.effective_tasks) == (1.0, pytest.approx(30))
    with pytest.raises(ValueError, match="expected successes"):
        pass_hat_k([[0.5, 1.0], [0.5, 1.0]], 1, 0)
    with pytest.raises(ValueError, match="expected successes"):
        flip_rate([[3.0], [1.0]], 0)


def test_groups_are_tested_by_t_over_their_means_and_never_below_five() -> None:
    groups = [task % 8 for task in range(40)]
    found = group_difference(RUNS[0], RUNS[1], groups)
    means = [(RUNS[0] - RUNS[1])[group::8].mean() for group in range(8)]
    expected = stats.ttest_1samp(means, 0)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert found.difference.limits == pytest.approx((interval.low, interval.high))
    few = group_difference(RUNS[0], RUNS[1], [task % 4 for task in range(40)])
    assert few.difference.value is not None
    assert few.p_value is None
    assert few.difference.limits is None


def test_groups_that_differ_on_few_tasks_are_no_proof() -> None:
    # One task more in each of five groups of nearly the same size.
    groups = [group for group in range(5) for _ in range(20 + group % 2)]
    a = np.array([group != before for group, before in zip(groups, [-1, *groups], strict=False)])
    found = group_difference(a.astype(float), np.zeros(len(groups)), groups)
    assert found.p_value is not None
    assert found.p_value >= 2 / 2**5
    assert found.difference.low is not None
    assert found.difference.low <= 0


def test_methods_over_groups_have_the_noise_of_seeds_and_no_more_than_one_task_more() -> None:
    groups = [task % 8 for task in range(40)]
    seeds = group_seed_variance([RUNS, RUNS[::-1]], groups)
    both = (True, True)
    checkpoints = group_difference(RUNS, RUNS[::-1] * 0.9, groups)
    methods = group_difference(RUNS, RUNS[::-1] * 0.9, groups, seeds=seeds, trained=both)
    assumed = group_difference(RUNS, RUNS[::-1] * 0.9, groups, trained=both, assumed_seed_sd=0.1)
    assert checkpoints.variance is not None
    assert assumed.variance == pytest.approx(checkpoints.variance + 2 / 3 * 0.01)
    assert seeds is not None
    assert methods.variance is not None
    assert checkpoints.variance <= 2 * methods.variance
    assert methods.variance <= checkpoints.variance + seeds.variance
