"""Base skills, the probe and the comparison of selections, as stages of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from atlas.config import check_config
from atlas.errors import ConfigError
from atlas.experiments import plan_experiment as planning
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import plan_experiment
from atlas.experiments.run_stages import Stage
from atlas.store.run_folders import read_manifest
from tests.training.small_runs import make_runs

PUSH = "tests.environments.push:PushEnvironment"


@pytest.fixture
def trajectories(tmp_path: Path) -> Path:
    return make_runs(tmp_path)[0]


@pytest.fixture(autouse=True)
def _all_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "require_installed", lambda config: None)


def planned(model: Path, trajectories: Path, out: Path, **changes: Any) -> dict[str, Stage]:
    settings: dict[str, Any] = {
        "trajectories": str(trajectories),
        "arms": {
            "all": {"selector": "all"},
            "again": {"selector": "all", "train": {"epochs": 2}},
            "random": {"selector": "random", "seeds": [3, 4]},
        },
        "train": {"model": str(model), "precision": "fp32"},
        "evaluate": {"environment": PUSH, "episodes": 4},
        "splits": ["held_in_test"],
    }
    config = check_config(ExperimentConfig, settings | changes, "test")
    return {stage.title: stage for stage in plan_experiment(config, out, "test").stages}


def test_base_skills_are_asked_of_the_base_and_of_every_training(
    tiny_model_folder: Path, trajectories: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stages = planned(tiny_model_folder, trajectories, out, skills={"limit": 5})
    asked = {title: stage for title, stage in stages.items() if title.startswith("skills")}
    names = ("base", "all", "again", "random-seed3", "random-seed4")
    assert asked.keys() == {f"skills: {name}" for name in names}
    base = out / "skills" / "base"
    for name in names[1:]:
        stage = asked[f"skills: {name}"]
        assert stage.needs == (out / "training" / name, base)
        assert stage.config.baseline == str(base)  # type: ignore[attr-defined]
        assert stage.config.limit == 5  # type: ignore[attr-defined]
    assert asked["skills: base"].config.baseline is None  # type: ignore[attr-defined]
    for arm in stages["report"].config.arms:  # type: ignore[attr-defined]
        assert [run.skills is not None for run in arm.runs] == [True] * len(arm.runs)
    without = planned(tiny_model_folder, trajectories, out)
    assert not [title for title in without if title.startswith("skills")]


def test_the_probe_plays_the_base_at_the_steps_of_an_arm(
    tiny_model_folder: Path, trajectories: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    probe = {"of": ["random"], "environment": PUSH, "limit": 2}
    stages = planned(tiny_model_folder, trajectories, out, probe=probe)
    stage = stages["probe: random"]
    assert stage.needs == (trajectories, out / "selections" / "random-seed3")
    assert stage.config.model == str(tiny_model_folder)  # type: ignore[attr-defined]


def test_the_selections_of_all_arms_are_compared_each_once(
    tiny_model_folder: Path, trajectories: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = {"compare_selections": {"plot": False}}
    stages = planned(tiny_model_folder, trajectories, out, **given)
    for title in ("select: all", "select: random-seed3", "compare the selections"):
        stages[title].run()
    manifest = read_manifest(out / "agreement", ("compare-selections",))
    assert manifest.summary["selections"] == 2, "all and again share one"
    assert manifest.config["names"] == ["all", "random"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"skills": {"model": "m"}}, r"'skills\.model' is set by 'train\.model'"),
        ({"skills": {"tsaks": ["order"]}}, "skills: unknown key 'tsaks'"),
        ({"probe": {}}, r"probe\.of is None, expected a list of arms"),
        ({"probe": {"of": ["al"]}}, r"probe\.of: 'al' is not an arm. Did you mean 'all'"),
        ({"probe": {"of": ["all"], "model": "m"}}, r"'probe\.model' is set by"),
        ({"compare_selections": {"of": ["all", "again"]}}, "expected two or more selection runs"),
        ({"compare_selections": {"of": []}}, r"compare_selections\.of is \[\]"),
        ({"compare_selections": {"names": ["a"]}}, r"'compare_selections\.names' is set by"),
    ],
)
def test_mistakes_in_these_sections_are_found_before_the_first_stage(
    tiny_model_folder: Path,
    trajectories: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    words: str,
) -> None:
    with pytest.raises(ConfigError, match=words):
        planned(tiny_model_folder, trajectories, tmp_path / "out", **changes)
