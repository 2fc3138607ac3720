"""How often a report says something false, simulated on the code that judges its arms.

An agent solves a task if c + D(task) + U(run) + E(run, task) > 0; all are normal. The three tuned
arms are the same method, so every difference of methods between them is false. Half of what a run
is worth is shared by the splits. Mean success is 35 %, single runs of two arms differ on 35 % of
the tasks, and `seed_sd` is the SD of a run's true rate.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from atlas.reporting.claims.compare_arms import compare_arms
from atlas.reporting.config import ReportConfig
from atlas.reporting.scopes import find_scopes
from tests.reporting.made_arms import make_arm

TUNED = ("all", "critical", "random")
SPLITS = ("held_in_test", "held_out_test")
RATE, TASK_SHARE = 0.35, 0.3644
NORMAL = NormalDist()


def simulate(rng: Any, num_runs: int, num_tasks: int, seed_sd: float) -> list[Any]:
    """Arms of one method, and an untuned model that is far below."""
    run_sd = seed_sd / NORMAL.pdf(NORMAL.inv_cdf(RATE))
    rest = math.sqrt(1 - TASK_SHARE - run_sd**2)
    hard = {split: math.sqrt(TASK_SHARE) * rng.normal(size=num_tasks) for split in SPLITS}
    arms = []
    for name in ("base", *TUNED):
        runs = 1 if name == "base" else num_runs
        shift = NORMAL.inv_cdf(0.05 if name == "base" else RATE)
        shared, successes = rng.normal(size=(runs, 1)), {}
        for split in SPLITS:
            luck = math.sqrt(0.5) * (shared + rng.normal(size=(runs, 1))) * run_sd
            noise = rest * rng.normal(size=(runs, num_tasks))
            successes[split] = (shift + hard[split] + luck + noise > 0).astype(float)
        arms.append(make_arm(name, successes))
    return arms


def share_false(
    num: int, num_runs: int, num_tasks: int, seed_sd: float, **settings: Any
) -> tuple[float, float]:
    """The share of reports with a false verdict, and the mean share of true ones that are found."""
    rng = np.random.default_rng([num_runs, num_tasks, round(1000 * seed_sd)])
    false = found = 0.0
    for _ in range(num):
        arms = simulate(rng, num_runs, num_tasks, seed_sd)
        config = ReportConfig(arms=tuple(arm.config for arm in arms), base="base", **settings)
        scopes = find_scopes(arms, config)
        rows = compare_arms(arms, scopes, config, "kept" if config.primary else "not_registered")
        tuned = [row for row in rows if row.block != "base"]
        assert len(tuned) == 6
        # Of equal checkpoints "differ" is false as well, but those of other seeds do differ.
        wrong = ("better", "worse", "differ") if not seed_sd else ("better", "worse")
        false += any(row.verdict in wrong for row in tuned)
        decided = [row.verdict in ("better", "differ") for row in rows if row.block == "base"]
        found += sum(decided) / len(decided)
    return false / num, found / num


def most_by_chance(num: int, share: float = 0.06) -> float:
    """Three standard errors above `share`."""
    return share + 3 * math.sqrt(share * (1 - share) / num)


def test_few_reports_say_something_false_and_true_differences_are_found() -> None:
    false, found = share_false(60, 3, 50, 0.045)
    assert false <= most_by_chance(60)
    assert found > 0.5


def test_one_seed_gives_no_verdict_on_methods_however_noisy_seeds_are() -> None:
    false, _ = share_false(40, 1, 50, 0.10)
    assert false == 0


PRIMARY = {"arm": "critical", "against": "random", "split": SPLITS[0]}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"primary": PRIMARY}, {"margin": 5.0}])
@pytest.mark.parametrize("seed_sd", [0.0, 0.035, 0.045])
@pytest.mark.parametrize(("num_runs", "num_tasks"), [(1, 200), (3, 50), (3, 200), (5, 200)])
def test_the_share_of_reports_with_a_false_verdict_is_at_most_nominal_and_one_point(
    num_runs: int, num_tasks: int, seed_sd: float, settings: dict[str, Any]
) -> None:
    false, found = share_false(600, num_runs, num_tasks, seed_sd, **settings)
    assert false <= most_by_chance(600)
    assert found > 0.5
