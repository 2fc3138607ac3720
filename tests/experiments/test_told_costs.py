"""What the dry run finds in a plan before anything runs, and what it says is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from atlas.config import Config, check_config
from atlas.errors import ConfigError
from atlas.experiments import plan_experiment as planning
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import ExperimentPlan, plan_experiment
from atlas.experiments.tell_costs import tell_costs
from atlas.experiments.tell_work import tell_work
from atlas.selection.selectors.base import SelectorBase
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories

PUSH = "tests.environments.push:PushEnvironment"
HERE = "tests.experiments.test_told_costs"


class NoSettings(Config):
    """Settings of a selector that has none."""


class WrongDraws(SelectorBase[NoSettings]):
    """Says that it draws, but not for its settings."""

    Config = NoSettings

    def draws(self, config: NoSettings) -> bool:  # type: ignore[override]
        return True


def settings_of(**changes: Any) -> ExperimentConfig:
    settings: dict[str, Any] = {
        "collect": {"environment": PUSH, "episodes": 4},
        "arms": {"all": {"selector": "all"}},
        "train": {"model": "some/model"},
        "evaluate": {"environment": PUSH, "episodes": 4},
    }
    return check_config(ExperimentConfig, settings | changes, "test")


def plan_of(out: Path, **changes: Any) -> ExperimentPlan:
    return plan_experiment(settings_of(**changes), out, "test")


def test_two_stages_never_write_the_same_folder(tmp_path: Path) -> None:
    """Their trainings differ, but the second draw of `random` has the name of a selection."""
    arms = {
        "all": {"selector": "all"},
        "random": {"selector": "random", "seeds": [1]},
        "random-seed1": {"selector": "all", "ratio": 0.5, "seeds": [5]},
    }
    with pytest.raises(ConfigError, match=r"two stages would write .*random-seed1"):
        plan_of(tmp_path, arms=arms)


def test_draws_that_is_not_a_class_method_is_said_by_the_plan(tmp_path: Path) -> None:
    arms = {"all": {"selector": "all"}, "own": {"selector": f"{HERE}:WrongDraws"}}
    with pytest.raises(ConfigError, match="'draws' is not a class method"):
        plan_of(tmp_path, arms=arms)


def test_a_primary_ring_of_which_nothing_can_be_played_is_said_by_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "leave_out", lambda config: {"far": "no server"})
    entries = {
        "near": {"environment": PUSH, "episodes": 4, "ring": "held_in"},
        "far": {"environment": PUSH, "episodes": 4, "ring": "held_out_tasks"},
    }
    changes: dict[str, Any] = {
        "suite": {"entries": entries},
        "evaluate": {"skip_missing": True},
        "arms": {"all": {"selector": "all"}, "random": {"selector": "random"}},
    }
    primary = {"arm": "random", "against": "all", "ring": "held_in"}
    assert plan_of(tmp_path, **changes, primary=primary).stages
    with pytest.raises(ConfigError, match=r"no entry of the ring 'held_out_tasks' can be played"):
        plan_of(tmp_path, **changes, primary=primary | {"ring": "held_out_tasks"})


def test_the_tokens_of_collected_trajectories_are_counted_too(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    given = [make_trajectory(3, f"t{number}") for number in range(2)]
    changes: dict[str, Any] = {"train": {"model": str(tiny_model_folder)}}
    config = settings_of(**changes)
    [before, *_] = tell_work(config, plan_of(tmp_path, **changes))
    assert "known once the trajectories are collected" in before
    write_trajectories(tmp_path / "trajectories", given)
    [after, *_] = tell_work(config, plan_of(tmp_path, **changes))
    assert after.startswith("training: 1 are left, each with ")


def test_an_oracle_that_is_checked_by_an_unfinished_selection_has_no_price_yet(
    tmp_path: Path,
) -> None:
    given = write_trajectories(tmp_path / "given", [make_trajectory(3, "t")])
    oracle = {"name": "oracle", "model": "a/b", "small": {"model": "c/d"}, "checked_by": "rules"}
    arms = {
        "all": {"selector": "all"},
        "rules": {"selector": "rules"},
        "asked": {"selector": oracle},
    }
    plan = plan_of(tmp_path / "out", collect={}, trajectories=given, arms=arms)
    [line] = tell_costs(plan.stages)
    assert line.startswith("select: asked: asks a model; its cost is known once ")
    assert str(tmp_path / "out" / "selections" / "rules") in line
