"""What counts as a change of the registered design, and what a report says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from atlas.config import check_config
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import ExperimentPlan, plan_experiment
from atlas.experiments.registration import (
    changes,
    changes_since_training,
    design_digest,
    register_design,
)
from atlas.experiments.tell_registration import tell_registration
from atlas.reporting.config import ReportConfig
from atlas.store.manifests import Manifest, write_manifest

PUSH = "tests.environments.push:PushEnvironment"


def plan_of(out: Path, **changes: Any) -> ExperimentPlan:
    """A plan that is not run, so its model and trajectories do not exist."""
    settings: dict[str, Any] = {
        "trajectories": "given",
        "arms": {"all": {"selector": "all"}, "random": {"selector": "random"}},
        "train": {"model": "some/model"},
        "evaluate": {"environment": PUSH, "episodes": 4},
        "splits": ["held_in_test"],
        "seeds": [0, 1],
    }
    return plan_experiment(check_config(ExperimentConfig, settings | changes, "test"), out, "test")


def register_and_start(plan: ExperimentPlan) -> None:
    """Register the design, and start the trainings that were not started before."""
    digest = register_design(plan.out, plan.design).digest
    for folder in plan.trainings:
        if not folder.exists():
            folder.mkdir(parents=True)
            manifest = Manifest(command="train", config={}, registration=digest)
            write_manifest(folder / "manifest.json", manifest)


def lines_about(plan: ExperimentPlan) -> list[str]:
    register_design(plan.out, plan.design)
    return list(changes_since_training(plan.out, plan.trainings))


def register_without(out: Path, *path: str) -> str:
    """Register the design as a version of atlas without one of the settings did."""
    design = plan_of(out).design
    inner: Any = design
    for key in path[:-1]:
        inner = inner[key]
    assert inner.pop(path[-1], None) is not None
    return register_design(out, design).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("evaluate", "held_in_test", "environment.max_steps"), {"max_steps": 5}),
        (("arms", "random", "select", "ratio"), {"ratio": 0.5}),
        (("arms", "all", "train", "epochs"), {"epochs": 9}),
        (("average",), {"average": "groups"}),
    ],
)
def test_a_setting_that_a_version_of_atlas_adds_is_a_change_only_if_it_is_used(
    tmp_path: Path, path: tuple[str, ...], value: dict[str, Any]
) -> None:
    digest = register_without(tmp_path, *path)
    again = plan_of(tmp_path)
    assert design_digest(again.design) == digest
    report = again.stages[-1].config
    assert isinstance(report, ReportConfig)
    assert report.design is not None
    assert design_digest(report.design) == digest
    told = list(tell_registration(again, register_design(tmp_path, again.design)))
    assert not [line for line in told if "WARNING" in line]
    used: dict[str, dict[str, Any]] = {
        "evaluate": {"evaluate": {"environment": {"name": PUSH, **value}, "episodes": 4}},
        "arms": {
            "arms": {
                "all": {"selector": "all", "train": value if "epochs" in value else {}},
                "random": {"selector": "random", **(value if "ratio" in value else {})},
            }
        },
        "average": value,
    }
    other = plan_of(tmp_path, **used[path[0]])
    assert design_digest(other.design) != digest
    [line] = register_design(tmp_path, other.design).changed
    assert ": nothing before, " in line


def test_an_arm_or_a_split_is_never_a_setting_that_was_added(tmp_path: Path) -> None:
    digest = register_design(tmp_path, plan_of(tmp_path).design).digest
    arms = {arm: {"selector": "all"} for arm in ("all", "more")} | {
        "random": {"selector": "random"}
    }
    for given in ({"arms": arms}, {"splits": ["held_in_test", "held_out_test"]}):
        assert design_digest(plan_of(tmp_path, **given).design) != digest


def test_the_order_of_seeds_is_not_part_of_the_design(tmp_path: Path) -> None:
    one, other = (plan_of(tmp_path, seeds=seeds).design for seeds in ([0, 1], [1, 0]))
    assert design_digest(one) == design_digest(other)


def test_a_report_names_added_seeds_and_those_that_were_left_out_again(tmp_path: Path) -> None:
    first = plan_of(tmp_path)
    register_and_start(first)
    assert lines_about(first) == []
    more = plan_of(tmp_path, seeds=[0, 1, 2])
    register_and_start(more)
    assert lines_about(more) == [
        "arms.all.seeds: [0, 1] before, [0, 1, 2] now",
        "arms.random.seeds: [0, 1] before, [0, 1, 2] now",
    ]
    assert lines_about(first) == [
        "training/all-seed2: started, but left out of this report",
        "training/random-seed2: started, but left out of this report",
    ]


def test_a_renamed_arm_leaves_its_trainings_behind_and_the_report_says_so(tmp_path: Path) -> None:
    register_and_start(plan_of(tmp_path))
    arms = {"all": {"selector": "all"}, "chance": {"selector": "random"}}
    renamed = plan_of(tmp_path, arms=arms)
    register_and_start(renamed)
    told = lines_about(renamed)
    assert {"arms.chance: added", "arms.random: left out"} <= set(told)
    assert told[-1] == "training/random-seed1: started, but left out of this report"


def test_a_design_that_was_changed_before_the_first_training_is_kept(tmp_path: Path) -> None:
    register_design(tmp_path, plan_of(tmp_path, margin=3).design)
    final = plan_of(tmp_path, margin=5)
    register_and_start(final)
    assert lines_about(final) == []


def test_a_registration_that_misses_parts_is_compared_and_not_an_error(tmp_path: Path) -> None:
    register_design(tmp_path, {"margin": 5.0})
    assert "arms" in plan_of(tmp_path).design


def test_a_part_that_was_added_or_left_out_is_one_line() -> None:
    """The settings of an evaluation are flat: dotted names of everything in its suite."""

    def design(*entries: str) -> dict[str, Any]:
        suite: dict[str, Any] = {"seed": 0}
        for entry in entries:
            settings = {"environment": entry, "environment.max_steps": 5, "ring": "held_in"}
            suite |= {f"suite.entries.{entry}.{key}": value for key, value in settings.items()}
        return {"margin": None, "evaluate": {"suite": suite}}

    maze = "evaluate.suite.suite.entries.maze"
    assert list(changes(design("door", "maze"), design("door"))) == [f"{maze}: left out"]
    assert list(changes(design("door"), design("door", "maze"))) == [f"{maze}: added"]
    other = design("door", "maze")
    other["evaluate"]["suite"]["suite.entries.maze.ring"] = "held_out"
    other["evaluate"]["suite"]["suite.entries.maze.world"] = "mazes"
    assert list(changes(design("door", "maze"), other)) == [
        f'{maze}.ring: "held_in" before, "held_out" now',
        f'{maze}.world: nothing before, "mazes" now',
    ]
