"""The demo at the smallest size: the same stages, functions and files."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("minigrid", reason="the babyai extra is not installed")
pytest.importorskip("matplotlib", reason="the report extra is not installed")

from atlas.config import check_config, load_config
from atlas.errors import ConfigError
from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_experiment import plan_experiment
from atlas.experiments.run_stages import Stage, run_stages
from atlas.store.run_folders import read_manifest
from atlas.training import chosen_precision
from tests.models.endpoints.chat_server import completion, serve
from tests.selection.oracle_answers import answer_of, num_allowed
from tests.shipped_recipes import shipped_recipes
from tests.training.small_runs import make_runs

ROOT = Path(__file__).resolve().parents[2]
# The data of these is made in test_paper_recipes.py.
ON_AGENTTRAJ = ("smollm2", "smollm2-babyai")
RECIPES = [path for path in shipped_recipes("experiment") if path.stem not in ON_AGENTTRAJ]


def tiny(model: Path, **changes: Any) -> ExperimentConfig:
    settings: dict[str, Any] = {
        "collect": {"episodes": 12, "workers": 1},
        "arms": {
            "all": {"selector": "all"},
            "critical": {"selector": "critical"},
            "other": {"selector": {"name": "complement", "of": "critical"}},
        },
        "train": {"model": str(model), "batch_size": 4, "micro_batch_size": 2, "precision": "fp32"},
        "evaluate": {
            "environment": {"name": "babyai", "max_steps": 2},
            "player": {"name": "local", "max_new_tokens": 4, "precision": "fp32"},
            "episodes": 4,
        },
    }
    return check_config(ExperimentConfig, settings | changes, "test")


def planned(config: ExperimentConfig, out: Path, where: str) -> tuple[Stage, ...]:
    return plan_experiment(config, out, where).stages


def test_the_walk_ends_with_a_report_whose_inputs_are_all_its_runs_and_a_second_walk_is_free(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    stages = planned(tiny(tiny_model_folder), tmp_path / "demo", "test")
    manifests = [manifest for _, manifest in run_stages(stages)]
    assert [stage.title for stage in stages][:4] == [
        "collect expert episodes",
        "select: all",
        "select: critical",
        "select: other",
    ]
    report = tmp_path / "demo" / "report"
    assert (report / "report.html").exists()
    assert len(read_manifest(report).inputs) >= 3 + 2 * 4
    assert [manifest for _, manifest in run_stages(stages)] == manifests
    assert plan_experiment(tiny(tiny_model_folder), tmp_path / "demo", "test").changed() == []
    assert (
        read_manifest(tmp_path / "demo" / "selections" / "critical").config["selector"]["name"]
        == "annotated"
    )
    assert "annotat" in (report / "report.md").read_text().lower(), (
        "the report says that no oracle was asked"
    )


def test_the_critical_arm_asks_the_oracle_when_the_recipe_names_an_endpoint(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    with serve(lambda body, _: completion(answer_of(range(num_allowed(body))))) as server:
        config = tiny(
            tiny_model_folder,
            oracle={"model": "tester", "endpoint": {"base_url": server.url, "max_retries": 0}},
        )
        stages = [
            stage
            for stage in planned(config, tmp_path, "test")
            if stage.title in ("collect expert episodes", "select: critical")
        ]
        manifests = [manifest for _, manifest in run_stages(stages)]
    assert manifests[-1].config["selector"]["name"] == "oracle"
    assert (
        json.loads(
            (tmp_path / "selections" / "critical" / "selections.jsonl").read_text().splitlines()[0]
        )["usage"]["requests"]
        >= 1
    )


@pytest.mark.slow
def test_side_by_side_the_stages_make_the_same_bytes(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    outputs = []
    for processes in (1, 2):
        config = tiny(
            tiny_model_folder,
            arms={"all": {"selector": "all"}},
            splits=["held_in_test"],
            processes=processes,
        )
        stages = planned(config, tmp_path / str(processes), "test")
        made = {stage.title: manifest for stage, manifest in run_stages(stages, config.processes)}
        outputs.append(
            {title: manifest.outputs for title, manifest in made.items() if title != "report"}
        )
        assert (stages[-1].out / "report.html").exists()
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_every_recipe_of_an_experiment_can_be_planned(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    stages = planned(load_config(ExperimentConfig, recipe, [], {}), tmp_path, recipe.name)
    assert stages[-1].title == "report"


def test_arms_may_differ_in_their_training_and_then_share_their_selection(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    arms = {
        "all": {"selector": "all"},
        "stop": {"selector": "all", "train": {"context_gradient": "stop", "epochs": 2}},
    }
    stages = planned(tiny(tiny_model_folder, arms=arms), tmp_path, "test")
    assert [stage.title for stage in stages if stage.title.startswith("select")] == ["select: all"]
    trainings = [stage.arguments for stage in stages if stage.title.startswith("train")]
    assert [(config.context_gradient, config.epochs) for config, _, _ in trainings] == [
        ("full", 1.0),
        ("stop", 2.0),
    ]
    assert trainings[0][2] == trainings[1][2]


def test_the_base_model_plays_under_the_template_that_the_arms_train_with(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    model = {"model": str(tiny_model_folder), "chat_template": "chatml-calls"}
    stages = planned(tiny(tiny_model_folder, train=model), tmp_path / "demo", "test")
    configs = {stage.title: stage.arguments[0] for stage in stages}
    played = {
        title: config.player.settings.chat_template
        for title, config in configs.items()
        if title.startswith("evaluate")
    }
    assert {title: given for title, given in played.items() if given} == {
        title: "chatml-calls" for title in played if title.startswith("evaluate: base")
    }
    assert all(
        config.chat_template == "chatml-calls"
        for title, config in configs.items()
        if title.startswith("train")
    )


def test_several_seeds_train_each_arm_once_per_seed_and_an_arm_may_have_its_own(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    arms = {
        "all": {"selector": "all", "seeds": [0]},
        "random": {"selector": "random"},
        "critical": {"selector": "critical", "seeds": [0, 2, 5]},
    }
    config = tiny(tiny_model_folder, arms=arms, seeds=[0, 1])
    stages = planned(config, tmp_path, "test")
    titles = [stage.title for stage in stages if stage.title.startswith("train: ")]
    assert titles == [
        "train: all",
        "train: random",
        "train: critical",
        "train: random-seed1",
        "train: critical-seed2",
        "train: critical-seed5",
    ], "the first seed of every arm comes first, so that all can be compared early"
    trained = {stage.title: stage.config.seed for stage in stages if "train: " in stage.title}  # type: ignore[attr-defined]
    assert list(trained.values()) == [0, 0, 0, 1, 2, 5]
    runs = {arm.name: len(arm.runs) for arm in stages[-1].config.arms}  # type: ignore[attr-defined]
    assert runs == {"base": 1, "all": 1, "random": 2, "critical": 3}


def test_more_seeds_keep_the_folders_of_the_earlier_ones(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    folders = [
        {stage.out for stage in planned(config, tmp_path, "test")}
        for config in (
            tiny(tiny_model_folder),
            tiny(tiny_model_folder, seeds=[0, 1]),
        )
    ]
    assert folders[0] < folders[1]


def test_a_selection_that_draws_is_drawn_for_each_seed_and_what_reads_it_follows(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    """The kind says whether it draws: a judge at temperature 0 does not, a sampled one does."""
    oracle = {"name": "oracle", "model": "m", "endpoint": {"base_url": "http://127.0.0.1:1"}}
    arms = {
        "all": {"selector": "all"},
        "random": {"selector": "random"},
        "again": {"selector": "random", "train": {"epochs": 2}},
        "critical": {"selector": "critical"},
        "asked": {"selector": oracle},
        "sampled": {"selector": {**oracle, "temperature": 1}},
        "checked": {"selector": {**oracle, "small": {"model": "s/s"}, "checked_by": "random"}},
        "other": {"selector": {"name": "complement", "of": "critical"}, "seeds": [0, 1, 4]},
        "both": {"selector": {"name": "vote", "of": ["critical", "random"]}, "seeds": [0, 3]},
        "fixed": {"selector": {"name": "vote", "of": ["critical", "all"]}},
    }
    stages = planned(tiny(tiny_model_folder, arms=arms, seeds=[0, 1]), tmp_path, "test")
    selections = {
        stage.out.name: stage for stage in stages if stage.out.parent.name == "selections"
    }
    assert selections.keys() == {
        *("all", "critical", "asked", "fixed"),
        *("random", "random-seed1", "random-seed3"),
        *("sampled", "sampled-seed1"),
        *("checked", "checked-seed1"),
        *("other", "other-seed1", "other-seed4"),
        *("both", "both-seed3"),
    }
    for name, stage in selections.items():
        _, _, seed = name.partition("-seed")
        assert stage.config.seed == int(seed or 0)  # type: ignore[attr-defined]
    folder = tmp_path / "selections"
    assert folder / "random-seed3" in selections["both-seed3"].needs
    assert folder / "random-seed1" in selections["checked-seed1"].needs
    trained = {stage.out.name: stage.needs[1] for stage in stages if "train: " in stage.title}
    assert trained["random-seed1"] == trained["again-seed1"] == folder / "random-seed1"
    assert trained["critical-seed1"] == trained["critical"] == folder / "critical"
    made = [stage.out for stage in stages]
    for number, stage in enumerate(stages):
        assert not set(stage.needs) & set(made[number:]), "a stage comes after what it needs"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "al"}, "reference 'al' is not an arm. Did you mean 'all'"),
        (
            {"arms": {"all": {"selector": "all"}, "base": {"selector": "all"}}},
            "cannot be called 'base'",
        ),
        ({"train": {"batch_size": 4}}, "'model' is required"),
        ({"train": {"model": "m", "seed": 3}}, "'train.seed' is set by 'seeds'"),
        (
            {
                "arms": {
                    "all": {"selector": "all"},
                    "rest": {"selector": {"name": "complement", "of": "al"}},
                }
            },
            "neither an earlier arm",
        ),
        ({"seeds": [1, 1]}, "twice"),
        ({"seeds": [-1]}, r"'seeds\.0' is -1: Input should be greater than or equal to 0"),
        ({"seeds": [True]}, r"'seeds\.0' is True: Input should be a valid integer"),
        (
            {"arms": {"all": {"selector": "all", "seeds": [-1]}}},
            r"arms\.all\.seeds is \[-1\], expected a list",
        ),
        (
            {"arms": {"all": {"selector": "all", "seeds": [1, 1]}}},
            r"arms\.all\.seeds is \[1, 1\], expected each seed once",
        ),
        ({"arms": {"all": {"selector": "all", "seeds": 3}}}, r"arms\.all\.seeds is 3, expected a"),
        ({"arms": {"all": {"selector": "all", "seeds": []}}}, r"expected a list such as"),
        (
            {"arms": {"all": {"selector": "random", "seed": 2}}},
            r"'arms\.all\.seed' is set by 'seeds'",
        ),
        (
            {
                "seeds": [0, 1],
                "arms": {"all": {"selector": "all"}, "all-seed1": {"selector": "all"}},
            },
            "two arms have a run called 'all-seed1'",
        ),
        (
            {"arms": {"all": {"selector": "all"}, "../x": {"selector": "all"}}},
            "the arm '../x' cannot be the name of a folder",
        ),
        ({"splits": [".."]}, r"the split '\.\.' cannot be the name of a folder"),
        ({"arms": {"all": {"selector": "al"}}}, r"arms\.all: selector 'al' is not known"),
        (
            {"arms": {"all": {"selector": "all", "train": {"epohcs": 2}}}},
            r"arms\.all\.train.*epohcs",
        ),
        (
            {"arms": {"all": {"selector": "all", "train": {"seed": 2}}}},
            r"arms\.all\.train\.seed would differ",
        ),
        ({"arms": {"all": {"selector": "all", "train": 2}}}, "expected settings of 'atlas train'"),
        ({"labels": {"al": "all steps"}}, "Did you mean 'all'"),
        ({"evaluate": {"episods": 3}}, "episods"),
        ({"arms": {"all": {"selector": "all", "ratoi": 0.3}}}, "ratoi"),
    ],
)
def test_mistakes_in_any_section_are_found_before_the_first_stage(
    tiny_model_folder: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        planned(tiny(tiny_model_folder, **changes), tmp_path, "test")


PUSH = "tests.environments.push:PushEnvironment"
ABSENT = "tests.evaluation.test_evaluate_suite:AbsentEnvironment"
SUITE = {
    "push": {"environment": {"name": PUSH, "max_steps": 2}, "episodes": 3},
    "babyai": {
        "environment": {"name": "babyai", "max_steps": 2},
        "split": "held_out_test",
        "episodes": 5,
        "ring": "held_out_tasks",
    },
}


def with_suite(model: Path, entries: Any = SUITE, **changes: Any) -> ExperimentConfig:
    player = {"name": "local", "max_new_tokens": 4, "precision": "fp32"}
    settings: dict[str, Any] = {
        "suite": {"entries": entries},
        "evaluate": {"player": player, **changes},
        "collect": {
            "suite": {
                "entries": {
                    "push": {"environment": PUSH, "split": "train", "episodes": 6},
                    "babyai": {"environment": "babyai", "split": "train", "episodes": 6},
                }
            },
            "workers": 1,
        },
        "arms": {"all": {"selector": "all"}, "critical": {"selector": "critical"}},
    }
    return tiny(model, **settings)


def test_an_experiment_on_a_suite_has_a_column_for_each_entry(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    plan = plan_experiment(with_suite(tiny_model_folder), tmp_path / "demo", "test")
    stages = plan.stages
    evaluations = [stage.title for stage in stages if stage.title.startswith("evaluate")]
    assert evaluations == [f"evaluate: {arm} on the suite" for arm in ("base", "all", "critical")]
    list(run_stages(stages))
    assert plan.changed() == []
    written = (tmp_path / "demo" / "report" / "report.json").read_text()
    report = json.loads(written)
    assert report["splits"] == ["push", "babyai"]
    counts = [result["num_tasks"] for result in report["arms"][0]["results"]]
    assert counts == [3, 5]
    trajectories = (tmp_path / "demo" / "trajectories" / "trajectories.jsonl").read_text()
    assert trajectories.count('"environment":"push"') == 6


def test_an_entry_that_cannot_be_played_is_an_error_of_the_plan_or_left_out_for_all_arms(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    entries = {**SUITE, "gone": {"environment": ABSENT}}
    with pytest.raises(ConfigError, match="gone: the package 'nothing'"):
        planned(with_suite(tiny_model_folder, entries), tmp_path / "demo", "test")
    assert not (tmp_path / "demo").exists()
    config = with_suite(tiny_model_folder, entries, skip_missing=True)
    [*_, report] = planned(config, tmp_path / "demo", "test")
    for arm in report.config.arms:  # type: ignore[attr-defined]
        assert arm.runs[0].evaluations.keys() == SUITE.keys()


def test_splits_and_a_suite_are_one_too_many(tiny_model_folder: Path) -> None:
    suite = {"entries": SUITE}
    with pytest.raises(ConfigError, match="both 'splits' and 'suite'"):
        tiny(tiny_model_folder, suite=suite, splits=["held_in_test"])
    with pytest.raises(ConfigError, match=r"'evaluate\.suite' is set by 'suite'"):
        tiny(tiny_model_folder, suite=suite, evaluate={"suite": suite})


def test_other_models_are_arms_that_are_only_evaluated(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    template = tmp_path / "own.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}", encoding="utf-8")
    other = {"model": str(tiny_model_folder), "player": {"chat_template": str(template)}}
    config = tiny(tiny_model_folder, models={"agent": other}, labels={"agent": "another agent"})
    stages = planned(config, tmp_path / "demo", "test")
    titles = [stage.title for stage in stages if "agent on" in stage.title]
    assert titles == ["evaluate: agent on held_in_test", "evaluate: agent on held_out_test"]
    [stage] = [stage for stage in stages if stage.title == titles[0]]
    assert stage.config.player.settings.chat_template == str(template)  # type: ignore[attr-defined]
    assert stage.config.player.settings.max_new_tokens == 4  # type: ignore[attr-defined]
    arm = stages[-1].config.arms[-1]  # type: ignore[attr-defined]
    assert (arm.name, arm.label, arm.runs[0].training) == ("agent", "another agent", None)
    with pytest.raises(ConfigError, match="'all' is the name of another arm"):
        tiny(tiny_model_folder, models={"all": other})


def test_what_auto_stands_for_is_chosen_once_for_all_arms_and_seeds(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trajectories, _ = make_runs(tmp_path)
    seconds = itertools.cycle([2.0, 1.0])
    monkeypatch.setattr(
        chosen_precision, "_time_layer", lambda *_: {"fp32": next(seconds), "bf16": 1.0}
    )
    monkeypatch.setattr(chosen_precision, "FEWEST_WEIGHTS", 0)
    config = tiny(
        tiny_model_folder,
        collect={},
        trajectories=trajectories,
        arms={"all": {"selector": "all"}, "random": {"selector": "random"}},
        train={"model": str(tiny_model_folder), "batch_size": 4, "precision": "auto"},
        seeds=[0, 1],
    )
    stages = planned(config, tmp_path / "out", "test")
    wanted = [stage for stage in stages if stage.title.startswith(("select", "train"))]
    for stage in wanted:
        pickle.dumps(stage)
        stage.run()
    trained = [stage.out for stage in wanted if stage.title.startswith("train")]
    assert [read_manifest(out).summary["precision"] for out in trained] == ["bf16"] * 4
