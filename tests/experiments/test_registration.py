"""The design is written down before training, and a change is said and kept, never silent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the report extra is not installed")

from atlas.config import check_config
from atlas.errors import ConfigError, RunError
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import ExperimentPlan, plan_experiment
from atlas.experiments.registration import register_design
from atlas.experiments.run_stages import run_stages
from atlas.experiments.tell_registration import tell_registration
from atlas.reporting.claims.registrations import design_digest
from atlas.store.manifests import parse_manifest
from atlas.store.run_folders import read_manifest
from tests.training.small_runs import make_runs

PRIMARY = {"arm": "random", "against": "all", "split": "held_in_test"}


@pytest.fixture
def trajectories(tmp_path: Path) -> Path:
    return make_runs(tmp_path)[0]


def plan_of(model: Path, trajectories: Path, out: Path, **changes: Any) -> ExperimentPlan:
    settings: dict[str, Any] = {
        "trajectories": str(trajectories),
        "arms": {"all": {"selector": "all"}, "random": {"selector": "random"}},
        "train": {"model": str(model), "batch_size": 4, "precision": "fp32"},
        "evaluate": {"environment": "tests.environments.push:PushEnvironment", "episodes": 4},
        "margin": 5,
        "primary": PRIMARY,
    }
    return plan_experiment(check_config(ExperimentConfig, settings | changes, "test"), out, "test")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"margin": 3}, "margin: 5.0 before, 3.0 now"),
        ({"primary": PRIMARY | {"split": "held_out_test"}}, 'primary.split: "held_in_test" before'),
        ({"seed_sd": 4}, "seed_sd: null before, 4.0 now"),
        ({"seeds": [0, 1]}, "arms.all.seeds: [0] before, [0, 1] now"),
        (
            {"arms": {"all": {"selector": "all"}, "random": {"selector": "random", "ratio": 0.5}}},
            "arms.random.select.ratio: 0.3 before, 0.5 now",
        ),
        (
            {
                "arms": {
                    "all": {"selector": "all"},
                    "random": {"selector": "random"},
                    "more": {"selector": "all", "train": {"epochs": 2}},
                }
            },
            "arms.more: added",
        ),
        (
            {
                "evaluate": {
                    "environment": "tests.environments.push:PushEnvironment",
                    "episodes": 5,
                }
            },
            "evaluate.held_in_test.episodes: 4 before, 5 now",
        ),
        ({"splits": ["held_in_test"]}, "evaluate.held_out_test: left out"),
    ],
)
def test_a_changed_design_is_said_before_training_and_the_earlier_one_is_kept(
    tiny_model_folder: Path, trajectories: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    out = tmp_path / "out"
    first = plan_of(tiny_model_folder, trajectories, out)
    registered = register_design(out, first.design)
    assert not [line for line in tell_registration(first, registered) if "WARNING" in line]
    second = plan_of(tiny_model_folder, trajectories, out, **changes)
    for given in (registered, register_design(out, second.design)):
        told = "\n".join(tell_registration(second, given))
        assert "WARNING: the design is not the one that was registered" in told
        assert says in told
    written = json.loads((out / "registration.json").read_text())
    assert written["digest"] == design_digest(second.design) != registered.digest
    assert [one["digest"] for one in written["earlier"]] == [registered.digest]
    assert written["earlier"][0]["design"] == json.loads(json.dumps(first.design))


@pytest.mark.parametrize(
    "changes",
    [
        {"processes": 2},
        {"title": "Another title", "labels": {"all": "every step"}},
        {"seeds": [0]},
        {"arms": {"all": {"selector": {"name": "all"}}, "random": {"selector": "random"}}},
        {
            "evaluate": {
                "environment": "tests.environments.push:PushEnvironment",
                "episodes": 4,
                "worlds": 2,
            }
        },
    ],
)
def test_what_does_not_decide_a_result_or_a_claim_is_not_part_of_the_design(
    tiny_model_folder: Path, trajectories: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    one = plan_of(tiny_model_folder, trajectories, tmp_path / "one")
    other = plan_of(tiny_model_folder, trajectories, tmp_path / "other", **changes)
    assert design_digest(one.design) == design_digest(other.design)


def test_the_order_of_arms_is_part_of_the_design_as_it_decides_the_focus(
    tiny_model_folder: Path, trajectories: Path, tmp_path: Path
) -> None:
    names = {"all": {"selector": "all"}, "random": {"selector": "random"}}
    more = {"more": {"selector": "random", "train": {"epochs": 2}}}
    out = tmp_path / "out"
    first = plan_of(tiny_model_folder, trajectories, out, arms={**names, **more})
    registered = register_design(out, first.design)
    second = plan_of(tiny_model_folder, trajectories, out, arms={**more, **names})
    warned = "\n".join(tell_registration(second, registered))
    assert 'focus: "random" before, "more" now' in warned


def test_each_training_has_the_digest_that_it_was_started_under(
    tiny_model_folder: Path, trajectories: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = plan_of(tiny_model_folder, trajectories, out)
    select_and_train(first)
    second = plan_of(tiny_model_folder, trajectories, out, margin=2, seeds=[0, 1])
    select_and_train(second)
    digests = {path.name: parse_manifest(path / "manifest.json") for path in second.trainings}
    earlier, now = design_digest(first.design), design_digest(second.design)
    assert {name: manifest.registration for name, manifest in digests.items()} == {
        **dict.fromkeys(("all", "random"), earlier),
        **dict.fromkeys(("all-seed1", "random-seed1"), now),
    }
    assert second.stages[-1].config.design == second.design  # type: ignore[attr-defined]
    told = "\n".join(tell_registration(second, register_design(out, second.design)))
    assert "2 of 4 trainings were started under another design" in told
    (out / "registration.json").unlink()
    told = "\n".join(tell_registration(first, register_design(out, first.design)))
    assert "2 of 2" not in told, "the trainings kept the digest of this design"


def test_a_registration_that_was_edited_is_refused(
    tiny_model_folder: Path, trajectories: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    design = plan_of(tiny_model_folder, trajectories, out).design
    register_design(out, design)
    file = out / "registration.json"
    written = file.read_text()
    file.write_text(written.replace('"margin": 5.0', '"margin": 9.0'))
    with pytest.raises(RunError, match="was edited"):
        register_design(out, design)
    file.write_text(written[:40])
    with pytest.raises(RunError, match="cannot be read"):
        register_design(out, design)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"primary": PRIMARY | {"arm": "al"}}, "primary.arm: 'al' is not an arm"),
        ({"primary": PRIMARY | {"split": "held_out"}}, "primary.split: 'held_out' is not among"),
        (
            {"primary": {"arm": "random", "against": "all", "ring": "held_in"}},
            "the arms play splits. Give 'primary.split', one of: held_in_test, held_out_test",
        ),
        ({"margin": 0}, "margin"),
        ({"margin": float("nan")}, "margin"),
        ({"seed_sd": -1}, "seed_sd"),
    ],
)
def test_a_claim_that_cannot_be_made_is_found_before_the_first_stage(
    tiny_model_folder: Path,
    trajectories: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    words: str,
) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_of(tiny_model_folder, trajectories, tmp_path / "out", **changes)


def select_and_train(plan: ExperimentPlan) -> None:
    stages = [stage for stage in plan.stages if stage.title.startswith(("select", "train"))]
    for stage, manifest in run_stages(stages):
        assert manifest.finished
        assert read_manifest(stage.out)
