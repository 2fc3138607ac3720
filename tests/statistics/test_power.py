"""Power, margins and t: against the published table, against scipy, and monotone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from atlas.statistics.power import (
    Noise,
    detectable_by_signs,
    detectable_effect,
    detectable_on_tasks,
    minimum_detectable_difference,
    planned_variance,
    power_of,
    required_seeds,
    required_tasks,
)
from atlas.statistics.student_t import chi_square_quantile, t_p_value, t_power, t_quantile

stats = pytest.importorskip("scipy.stats", reason="the report extra is not installed")

# Points, for a discordance of 35 % and seed SDs of 0, 3.5 and 4.5 points, by tasks and seeds.
TABLE = {
    (50, 3): (18.7, 21.4, 23.0),
    (50, 5): (12.3, 14.1, 15.1),
    (50, 20): (5.5, 6.3, 6.8),
    (200, 3): (9.1, 14.1, 16.5),
    (200, 10): (3.9, 6.1, 7.1),
    (1000, 5): (2.7, 7.6, 9.5),
    (1000, 20): (1.2, 3.4, 4.3),
}


@pytest.mark.parametrize("design", TABLE)
def test_the_minimum_detectable_difference_is_that_of_the_table(design: tuple[int, int]) -> None:
    num_tasks, num_seeds = design
    found = [
        100 * minimum_detectable_difference(Noise(sd, 0.35), num_seeds, num_tasks)
        for sd in (0.0, 0.035, 0.045)
    ]
    assert found == pytest.approx(TABLE[design], abs=0.051)


@pytest.mark.parametrize("degrees", [1.5, 4.0, 30.0, 400.0, math.inf])
def test_t_is_that_of_scipy(degrees: float) -> None:
    far = 1e9 if math.isinf(degrees) else degrees
    assert t_quantile(0.95, degrees) == pytest.approx(stats.t.ppf(0.975, far), rel=1e-6)
    assert t_p_value(-1.3, degrees) == pytest.approx(2 * stats.t.sf(1.3, far), rel=1e-6)
    for effect in (0.0, 1.0, 2.8, 6.0):
        limit = t_quantile(0.95, degrees)
        if math.isinf(degrees):
            expected = stats.norm.sf(limit - effect) + stats.norm.cdf(-limit - effect)
        else:
            expected = stats.nct.sf(limit, degrees, effect) + stats.nct.cdf(-limit, degrees, effect)
        assert t_power(effect, degrees, 0.95) == pytest.approx(expected, abs=1e-6)
    if not math.isinf(degrees):
        assert chi_square_quantile(0.2, degrees) == pytest.approx(stats.chi2.ppf(0.2, degrees))


def test_the_detectable_effect_has_the_power_that_was_asked_for() -> None:
    for power in (0.5, 0.8, 0.95):
        found = detectable_effect(0.0004, 6.0, 0.95, power)
        assert t_power(found / 0.02, 6.0, 0.95) == pytest.approx(power)


@pytest.mark.parametrize("num_tasks", [6, 8, 10, 25, 50])
@pytest.mark.parametrize("discordance", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("confidence", [0.95, 0.995])
def test_the_exact_test_finds_the_difference_that_is_said(
    num_tasks: int, discordance: float, confidence: float
) -> None:
    found = detectable_by_signs(num_tasks, discordance, confidence)
    if math.isinf(found):
        assert 2.0 ** (1 - num_tasks) >= 1 - confidence
        return
    rng = np.random.default_rng(num_tasks)
    differ = max(discordance, found)
    num_differ = rng.binomial(num_tasks, differ, 4000)
    num_higher = rng.binomial(num_differ, (differ + found) / (2 * differ))
    p_values = 2 * stats.binom.sf(num_higher - 1, num_differ, 0.5)
    assert np.mean(p_values < 1 - confidence) == pytest.approx(0.8, abs=0.03)


def test_a_difference_on_few_episodes_has_a_variance_of_its_own() -> None:
    """A pilot without a success has hardly a variance, and an arm that solves d of n has one."""
    for variance in (1e-9, 1e-4, 1e-2):
        effect = detectable_effect(variance, math.inf)
        found = detectable_on_tasks(effect, variance, 40)
        assert found >= effect
        own = max(variance, found * (1 - found) / 40)
        assert found >= (1 - 1e-9) * effect * math.sqrt(own / variance)


def test_the_required_numbers_are_the_fewest_that_are_enough() -> None:
    noise = Noise(0.02, 0.3, num_arms=3, task_variance=0.02)
    seeds = required_seeds(0.05, noise, 200)
    assert seeds is not None
    assert power_of(0.05, noise, seeds, 200) >= 0.8 > power_of(0.05, noise, seeds - 1, 200)
    tasks = required_tasks(0.05, noise, 12)
    assert tasks is not None
    assert power_of(0.05, noise, 12, tasks) >= 0.8 > power_of(0.05, noise, 12, tasks - 1)
    assert required_tasks(0.01, Noise(0.05, 0.3), 3) is None
    assert required_seeds(0.0001, Noise(0.05, 0.3), 50) is None


@pytest.mark.parametrize(("num_seeds", "num_tasks"), [(3, 8), (3, 20), (10, 10), (5, 100)])
def test_arms_that_differ_by_more_differ_on_more_tasks(num_seeds: int, num_tasks: int) -> None:
    """A pilot on which two arms hardly differ does not say what larger differences cost."""
    for discordance in (0.01, 0.1, 0.6):
        noise = Noise(0.03, discordance)
        found = minimum_detectable_difference(noise, num_seeds, num_tasks)
        assert found is not None
        assert power_of(found, noise, num_seeds, num_tasks) == pytest.approx(0.8, abs=0.01)
        most = Noise(0.03, max(discordance, found))
        assert found == pytest.approx(
            minimum_detectable_difference(most, num_seeds, num_tasks), abs=1e-3
        )


def test_five_tasks_find_nothing_whatever_the_seeds() -> None:
    assert minimum_detectable_difference(Noise(0.0, 0.1), 100, 5) == math.inf
    assert power_of(0.9, Noise(0.0, 0.1), 100, 5) == 0
    assert power_of(0.9, Noise(0.0, 0.1), 100, 6) > 0.5
    assert (required_tasks(0.9, Noise(0.0, 0.1), 100) or 0) >= 6


def test_more_of_anything_never_finds_less() -> None:
    noise = Noise(0.03, 0.35)
    powers = [power_of(0.06, noise, num, 200) for num in (2, 3, 5, 10, 30)]
    assert powers == sorted(powers)
    powers = [power_of(0.06, noise, 5, num) for num in (2, 10, 50, 500, 10_000)]
    assert powers == sorted(powers)


def test_one_seed_has_no_power_at_all() -> None:
    assert planned_variance(Noise(0.0, 0.35), 1, 200)[1] == 0
    assert power_of(0.5, Noise(0.0, 0.35), 1, 200) == 0
    assert minimum_detectable_difference(Noise(0.0, 0.35), 1, 200) is None
