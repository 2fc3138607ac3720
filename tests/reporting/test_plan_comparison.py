"""A plan: what a pilot says of the noise, and what its designs show and cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from atlas.config import load_config
from atlas.errors import ConfigError, RunError
from atlas.reporting.build_report import build_report
from atlas.reporting.claims.compare_values import FEWEST_TRAININGS
from atlas.reporting.config import ArmConfig, ReportConfig
from atlas.reporting.planning.plan_comparison import ComparisonPlan, PlanConfig, plan_comparison
from atlas.reporting.planning.plan_table import plan_lines, plan_table
from tests.reporting.synthetic_runs import RunFolders

pytest.importorskip("scipy", reason="the report extra is not installed")


def shown(plan: ComparisonPlan) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(plan_table(plan))
    return "\n".join([capture.get(), *plan_lines(plan)])


def test_without_a_pilot_the_named_noise_is_planned_with() -> None:
    plan = plan_comparison(PlanConfig())
    assert (plan.seed_sd, plan.discordance, plan.goal) == (0.035, 0.35, 0.05)
    assert plan.cheapest is None
    cell = next(one for one in plan.designs if (one.num_tasks, one.num_seeds) == (200, 5))
    assert 100 * cell.minimum_detectable == pytest.approx(9.3, abs=0.05)
    assert all(one.power >= 0.8 for one in plan.enough.values())
    assert "time:   not known" in shown(plan)


def test_a_margin_needs_what_a_difference_of_its_size_needs() -> None:
    settings = {"seconds_per_training": 600.0, "seconds_per_episode": 1.0, "splits": 2, "arms": 3}
    difference = plan_comparison(PlanConfig(difference=5, **settings))
    margin = plan_comparison(PlanConfig(margin=5, **settings))
    assert margin.designs == difference.designs
    assert "not worse by more than 5 points" in shown(margin)
    best = margin.cheapest
    assert best is not None
    assert best.seconds == 3 * best.num_seeds * (600 + 2 * best.num_tasks)
    assert best.seconds == min(one.seconds or 0 for one in margin.enough.values())
    with pytest.raises(ConfigError, match="both 'difference' and 'margin'"):
        load_config(PlanConfig, None, ["difference=5", "margin=5"], {})


def test_fewer_seeds_than_a_report_needs_are_never_planned() -> None:
    plan = plan_comparison(PlanConfig(difference=50, seed_sd=0, discordance=5))
    assert {design.num_seeds for design in plan.enough.values()} == {FEWEST_TRAININGS}
    with pytest.raises(ConfigError, match=r"seeds\.0"):
        load_config(PlanConfig, None, ["seeds=[2]"], {})


def test_a_difference_that_rates_cannot_have_is_not_shown() -> None:
    plan = plan_comparison(PlanConfig(seed_sd=49, discordance=60, seeds=(3,), tasks=(50,)))
    assert plan.designs[0].minimum_detectable > 1
    assert "150." not in shown(plan)


def test_tasks_that_can_show_nothing_have_no_detectable_difference() -> None:
    plan = plan_comparison(PlanConfig(tasks=(4, 8), seeds=(3,)), ())
    assert [one.minimum_detectable is None for one in plan.designs] == [True, False]
    assert plan.designs[0].power == 0
    assert type(plan).model_validate_json(plan.model_dump_json()) == plan


def test_results_made_elsewhere_are_a_pilot(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    won = {
        "base": rng.random((1, 40)) < 0.3,
        "tuned": rng.random((3, 40)) < np.repeat([0.9, 0.1], 20),
    }
    arms = []
    for name, runs in won.items():
        rows = [
            f"t{task},{seed},{int(one)}"
            for seed, run in enumerate(runs)
            for task, one in enumerate(run)
        ]
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["task,seed,success", *rows]))
        arms.append(ArmConfig(name=name, results=(str(path),)))
    config = ReportConfig(
        arms=tuple(arms), reference="base", results_are="trainings", resamples=100
    )
    build_report(config, tmp_path / "report")
    plan = plan_comparison(PlanConfig(), [tmp_path / "report"])
    assert plan.discordance == pytest.approx((won["tuned"] != won["base"]).mean())
    assert plan.seed_sd_degrees == 2
    assert plan.seconds_per_training is None
    assert plan.task_variance > 0
    assert "varies from task to task" in shown(plan)


def test_a_goal_out_of_reach_is_said() -> None:
    plan = plan_comparison(PlanConfig(difference=0.01, tasks=(50,)))
    assert plan.enough == {}
    assert "more than 1 000 seeds" in shown(plan).replace("\u202f", " ").replace(",", " ")


def test_evaluations_say_on_how_many_tasks_two_arms_differ(folders: RunFolders) -> None:
    split = "held_in_test"
    paths = [folders.paths[f"evaluate-{arm}-0-{split}"] for arm in ("all", "critical")]
    plan = plan_comparison(PlanConfig(), paths)
    won = [
        [episode.outcome.status == "success" for episode in folders.episodes(arm, split)]
        for arm in ("all", "critical")
    ]
    known = [
        [episode.outcome.is_valid for episode in folders.episodes(arm, split)]
        for arm in ("all", "critical")
    ]
    both = np.logical_and(*known)
    assert plan.discordance == pytest.approx(np.not_equal(*won)[both].mean())
    assert plan.seed_sd == 0.035
    assert plan.seed_sd_degrees is None
    assert plan.seconds_per_training is None


def test_a_report_with_several_trainings_says_how_much_seeds_vary(
    make_runs: Callable[..., RunFolders], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = make_runs(num_seeds=3, num_tasks=40, num_trajectories=20)
    build_report(runs.config, tmp_path / "report")
    # Paths of a run folder are those from the folder.
    monkeypatch.chdir(tmp_path)
    plan = plan_comparison(PlanConfig(), [Path("report")])
    assert plan.seed_sd_degrees == 2 * (len(runs.config.arms) - 1)
    assert plan.seed_sd_high is not None
    assert plan.seed_sd_high > plan.seed_sd
    assert plan.seconds_per_training is not None
    assert plan.seconds_per_episode is not None
    assert plan.cheapest is not None or not plan.enough
    text = shown(plan)
    assert "degrees of freedom" in text
    assert "time:" in text
    stated = plan_comparison(PlanConfig(seed_sd=2.0), [Path("report")])
    assert (stated.seed_sd, stated.seed_sd_degrees) == (0.02, None)
    with pytest.raises(ConfigError, match="no split or ring 'held_inn'"):
        plan_comparison(PlanConfig(split="held_inn"), [Path("report")])
    with pytest.raises(ConfigError, match="no arm 'criticl'"):
        plan_comparison(PlanConfig(arm="criticl"), [Path("report")])


def test_a_pilot_that_cannot_be_compared_is_refused(folders: RunFolders, tmp_path: Path) -> None:
    one = folders.paths["evaluate-all-0-held_in_test"]
    other = folders.paths["evaluate-all-0-held_out_test"]
    with pytest.raises(ConfigError, match="expected two or a report"):
        plan_comparison(PlanConfig(), [one])
    with pytest.raises(ConfigError, match="differ on no task"):
        plan_comparison(PlanConfig(), [one, one])
    assert plan_comparison(PlanConfig(discordance=20), [one, one]).discordance == 0.2
    with pytest.raises(RunError, match="tasks differ"):
        plan_comparison(PlanConfig(), [one, other])
    with pytest.raises(RunError):
        plan_comparison(PlanConfig(), [tmp_path / "nothing"])


def test_more_seeds_and_tasks_never_show_less() -> None:
    plan = plan_comparison(PlanConfig())
    for one, other in itertools.permutations(plan.designs, 2):
        if one.num_tasks <= other.num_tasks and one.num_seeds <= other.num_seeds:
            assert one.power <= other.power
            assert one.minimum_detectable >= other.minimum_detectable
