"""The laws of a report, simulated: coverage and false verdicts, on the grid of the benchmark.

`benchmarks/report_statistics.py` prints the same cells with more repetitions. Coverage must not be
below the nominal 95 % by more than 2 points. It may be above where few tasks or alike seeds leave
the noise of seeds unknown: then the interval is on the wide side, by up to 3.5 points.
"""

from __future__ import annotations

import itertools
import math

import pytest

pytest.importorskip("scipy", reason="the report extra is not installed")

from benchmarks.report_statistics import (
    SEED_SDS,
    Conditions,
    measure_checkpoints,
    measure_groups,
    measure_improvement,
    measure_methods,
    measure_rate,
    share_not_worse,
    share_of_false_reports,
)

# What 2.6 standard errors of a share of 95 % allow, in so many repetitions.
FEW, MANY = 400, 2000


def slack(num: int) -> float:
    return 2.6 * math.sqrt(0.95 * 0.05 / num)


def assert_law(found: object, num: int, most: float = 0.985, is_null: bool = True) -> None:
    coverage, judged = found.coverage, found.judged  # type: ignore[attr-defined]
    assert 0.93 - slack(num) <= coverage <= most + slack(num), found
    if is_null:
        assert judged <= 0.06 + slack(num), found


GRID = [
    Conditions(tasks, (seeds,) * 3, seed_sd, interaction=interaction)
    for tasks, seeds, seed_sd, interaction in itertools.product(
        (25, 50, 200), (3, 5), SEED_SDS, (0.0, 0.3)
    )
]
UNEQUAL = [
    Conditions(200, (1, 3, 3), 0.045),
    Conditions(200, (1, 5, 5), 0.045),
    Conditions(200, (3, 3, 3), 0.045, (0.35, 0.35, 0.05), 0.15),
    Conditions(200, (3, 3, 3), 0.045, (0.05,) * 3, 0.15),
    Conditions(200, (3, 3, 3), 0.045, (0.98,) * 3, 0.15),
    Conditions(0, (3, 3, 3), 0.045, interaction=0.15, strata=(20, 50, 100, 200, 50)),
    Conditions(0, (3, 3, 3), 0.0, interaction=0.15, strata=(4,) * 25),
    Conditions(200, (3, 3, 3), 0.045, interaction=0.15, broken=0.1),
    Conditions(200, (5, 5, 5), 0.045, interaction=0.15, broken=0.3),
]


@pytest.mark.parametrize("place", [0, 15, 21, 26, 34])
def test_a_difference_of_methods_is_covered_on_a_part_of_the_grid(place: int) -> None:
    assert_law(measure_methods(GRID[place], FEW), FEW)


@pytest.mark.parametrize("cell", UNEQUAL[:4], ids=str)
def test_unequal_arms_are_covered(cell: Conditions) -> None:
    assert_law(measure_methods(cell, FEW), FEW, 0.99, is_null=cell.truth == 0)


@pytest.mark.slow
@pytest.mark.parametrize("cell", GRID, ids=str)
def test_a_difference_of_methods_is_covered_on_the_whole_grid(cell: Conditions) -> None:
    assert_law(measure_methods(cell, MANY), MANY)


@pytest.mark.slow
@pytest.mark.parametrize("cell", UNEQUAL, ids=str)
def test_unequal_arms_strata_and_broken_episodes_are_covered(cell: Conditions) -> None:
    assert_law(measure_methods(cell, MANY), MANY, 0.99, is_null=cell.truth == 0)


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [25, 50, 200, 1000])
@pytest.mark.parametrize("rates", [(0.35, 0.35), (0.5, 0.2), (0.1, 0.03)])
def test_two_checkpoints_are_covered(tasks: int, rates: tuple[float, float]) -> None:
    cell = Conditions(tasks, rates=rates, interaction=0.15)
    found = measure_checkpoints(cell, MANY)
    assert_law(found, MANY, 0.99, is_null=cell.truth == 0)


def test_two_checkpoints_are_covered_with_unequal_strata() -> None:
    for strata in ((), (5, 5, 5, 85)):
        cell = Conditions(100, rates=(0.35, 0.35), interaction=0.15, strata=strata)
        assert_law(measure_checkpoints(cell, FEW), FEW)


def test_the_rate_of_an_arm_is_covered() -> None:
    for runs, seed_sd in ((1, 0.0), (3, 0.045)):
        cell = Conditions(100, (runs,), seed_sd, (0.35,))
        assert_law(measure_rate(cell, FEW), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.35, 0.1])
@pytest.mark.parametrize("runs", [1, 3, 5, 10])
def test_the_rate_of_an_arm_is_covered_on_the_whole_grid(rate: float, runs: int) -> None:
    for tasks, seed_sd in itertools.product((50, 200), SEED_SDS if runs > 1 else (0.0,)):
        assert_law(measure_rate(Conditions(tasks, (runs,), seed_sd, (rate,)), MANY), MANY, 0.99)


def test_other_groups_are_covered_by_groups_and_not_by_tasks() -> None:
    cell = Conditions(
        0, (1, 1), rates=(0.35, 0.35), interaction=0.6, strata=(40,) * 5, level_share=0.8
    )
    assert_law(measure_groups(cell, FEW), FEW)
    assert measure_checkpoints(cell, FEW).coverage < 0.85


def test_methods_on_other_groups_are_covered_with_the_noise_of_seeds() -> None:
    cell = Conditions(
        0, (3, 3), 0.045, (0.35, 0.35), interaction=0.3, strata=(20,) * 10, level_share=0.5
    )
    found = measure_groups(cell, FEW)
    assert_law(found, FEW)
    assert found.width < 0.35


def test_the_probability_of_improvement_of_equal_arms_is_covered() -> None:
    for runs in (3, 5):
        cell = Conditions(40, (runs, runs), 0.045, (0.35, 0.35))
        assert_law(measure_improvement(cell, 200), 200, 1.0)


def test_not_worse_is_seldom_said_of_what_is_worse_by_the_margin() -> None:
    cell = Conditions(200, (5, 5, 5), 0.045, (0.3, 0.35, 0.35))
    assert share_not_worse(cell, 0.05, FEW) <= 0.035 + slack(FEW)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize("seed_sd", SEED_SDS)
def test_a_whole_report_seldom_has_a_false_verdict(runs: int, seed_sd: float) -> None:
    assert share_of_false_reports(Conditions(200, (runs,), seed_sd, (0.35,)), 1000) <= 0.08
