"""A recipe whose settings changed is refused before anything is started or registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from atlas.config import check_config
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import ExperimentPlan, plan_experiment
from atlas.experiments.run_stages import run_stages
from tests.cli.in_process import Atlas, atlas_in_process
from tests.training.small_runs import make_runs

PUSH = "tests.environments.push:PushEnvironment"
PLAYER = {"name": "local", "max_new_tokens": 4, "precision": "fp32"}


@pytest.fixture
def recipe(tiny_model_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "trajectories": str(make_runs(tmp_path)[0]),
        "arms": {"all": {"selector": "all"}, "random": {"selector": "random"}},
        "train": {"model": str(tiny_model_folder), "precision": "fp32", "batch_size": 2},
        "evaluate": {"environment": PUSH, "episodes": 2, "player": PLAYER},
        "splits": ["held_in_test"],
        "probe": {"of": ["random"], "environment": PUSH, "limit": 1, "player": PLAYER},
        "compare_selections": {"plot": False},
    }


def plan_of(recipe: dict[str, Any], out: Path, **changes: Any) -> ExperimentPlan:
    config = check_config(ExperimentConfig, recipe | changes, "test")
    return plan_experiment(config, out, "test")


def test_a_finished_experiment_is_unchanged_and_names_what_another_setting_would_change(
    recipe: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    plan = plan_of(recipe, out)
    assert plan.changed() == []
    done = list(run_stages(plan.stages))
    assert len(done) == len(plan.stages)
    assert plan.changed() == []
    assert plan_of(recipe, out, title="Other words", processes=2).changed() == []

    other = {"evaluate": {**recipe["evaluate"], "episodes": 3}}
    named = [line.partition(" (")[0] for line in plan_of(recipe, out, **other).changed()]
    assert named == [
        str(out / "evaluations" / arm / "held_in_test") for arm in ("base", "all", "random")
    ]

    before = (out / "registration.json").read_bytes()
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe | other))
    atlas: Atlas = atlas_in_process(monkeypatch, capfd)
    status, said, errors = atlas(["run", path, "--out", out, "--dry-run"])
    assert (status, errors) == (0, "")
    assert said.count("WARNING: made with other settings.") == 3
    status, _, errors = atlas(["run", path, "--out", out])
    assert status == 2
    assert "episodes: 2 there, 3 now" in errors
    assert "nothing was started" in errors
    assert (out / "registration.json").read_bytes() == before
