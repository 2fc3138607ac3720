"""One training does not pass for several, under whatever path it is given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, RunError
from atlas.reporting.build_report import build_report, compute_report
from atlas.reporting.config import ArmRun, ReportConfig
from atlas.reporting.identities import identities_of
from atlas.reporting.read_arms import read_arms
from atlas.store.run_folders import Input, run_input
from tests.reporting.made_arms import make_arm, report_on
from tests.reporting.synthetic_runs import RunFolders, make_episodes, read_built, write_run

SPLIT = "held_in_test"


@pytest.fixture
def runs(make_runs: Callable[..., RunFolders]) -> RunFolders:
    return make_runs(arms=("all", "critical"), splits=(SPLIT,), num_tasks=8, num_trajectories=4)


def with_runs(folders: RunFolders, *given: ArmRun) -> ReportConfig:
    """The config of `folders` with other runs of the arm `critical`."""
    reference, critical = folders.config.arms
    arms = (reference, critical.model_copy(update={"runs": given}))
    return folders.config.model_copy(update={"arms": arms})


def evaluate(folders: RunFolders, name: str, training: Path, seed: int = 7) -> Path:
    path = folders.root / name
    config = {"environment": "babyai", "split": SPLIT, "seed": seed, "model": "given"}
    episodes = make_episodes("critical", SPLIT, seed, 8)
    model = {"model": run_input(training, path)}
    return write_run(path, "evaluate", config, model, {"episodes.jsonl": episodes}, {})


def train_again(folders: RunFolders, name: str, weights: str, metrics: str) -> Path:
    """A training like that of `critical`, whose log may differ while its weights are the same."""
    path = folders.root / name
    config = {"seed": 0, "learning_rate": 1e-5}
    run = folders.config.arms[1].runs[0]
    assert run.training is not None
    inputs = {"trajectories": run_input(folders.paths["trajectories"], path)}
    inputs["selection"] = run_input(folders.paths["annotated"], path)
    inputs["model"] = Input(path="Qwen/Qwen2.5-0.5B-Instruct")
    files: dict[str, Any] = {
        "metrics.jsonl": [{"step": 1, "loss": 1.0, "seconds": metrics}],
        "checkpoint/model.safetensors": weights,
    }
    return write_run(path, "train", config, inputs, files, {})


def test_the_same_folder_twice_is_refused(runs: RunFolders, tmp_path: Path) -> None:
    run = runs.config.arms[1].runs[0]
    with pytest.raises(RunError, match="its runs 1 and 2 are the same training"):
        build_report(with_runs(runs, run, run), tmp_path / "out")


def test_a_copy_under_another_path_is_refused(runs: RunFolders, tmp_path: Path) -> None:
    run = runs.config.arms[1].runs[0]
    assert run.training is not None
    copied = shutil.copytree(run.training, runs.root / "copied")
    other = ArmRun(training=copied, evaluations={SPLIT: evaluate(runs, "again", copied)})
    with pytest.raises(RunError, match=r"copied have the same checkpoint"):
        build_report(with_runs(runs, run, other), tmp_path / "out")


def test_one_checkpoint_in_two_run_folders_is_refused(runs: RunFolders, tmp_path: Path) -> None:
    given = []
    for number in (1, 2):
        training = train_again(runs, f"once-more-{number}", "weights", str(number))
        evaluation = evaluate(runs, f"played-{number}", training, seed=number)
        given.append(ArmRun(training=training, evaluations={SPLIT: evaluation}))
    first, second = (json.loads((one.training / "manifest.json").read_text()) for one in given)  # type: ignore[operator]
    assert first["outputs"] != second["outputs"], "their logs differ"
    with pytest.raises(RunError, match="are the same training"):
        build_report(with_runs(runs, *given), tmp_path / "out")


def test_an_evaluated_run_or_checkpoint_without_its_training_is_known_too(
    runs: RunFolders, tmp_path: Path
) -> None:
    training = runs.config.arms[1].runs[0].training
    assert training is not None
    given = [
        ArmRun(evaluations={SPLIT: evaluate(runs, f"played-{seed}", training, seed)})
        for seed in (1, 2, 3)
    ]
    with pytest.raises(RunError, match="list the folders of its evaluations under one run"):
        build_report(with_runs(runs, *given), tmp_path / "out")


def test_repetitions_are_one_run_and_are_averaged(runs: RunFolders) -> None:
    run = runs.config.arms[1].runs[0]
    assert run.training is not None
    first = run.folders(SPLIT)[0]
    again = evaluate(runs, "again", run.training)
    repeated = ArmRun(training=run.training, evaluations={SPLIT: (first, again)})
    report = read_built(runs, arms=with_runs(runs, repeated).arms)
    result = report.arm("critical")
    assert result.num_runs == 1
    assert result.results[0].total.num_episodes.value == 16
    assert result.results[0].num_tasks == 8
    figures = result.scopes[0].repetitions
    assert figures is not None
    assert figures.num_repetitions == 2
    assert any("Repetitions are averaged" in note.text for note in report.notes)
    names = {name for run in report.runs for name in run.names}
    assert {f"critical/1/evaluate/{SPLIT}/{place}" for place in (1, 2)} <= names


def test_a_copy_of_an_evaluation_is_not_a_repetition(runs: RunFolders, tmp_path: Path) -> None:
    run = runs.config.arms[1].runs[0]
    first = run.folders(SPLIT)[0]
    copied = shutil.copytree(first, runs.root / "copied")
    repeated = ArmRun(training=run.training, evaluations={SPLIT: (first, copied)})
    with pytest.raises(RunError, match="hold the same episodes"):
        build_report(with_runs(runs, repeated), tmp_path / "out")
    for given in ((), (first, first)):
        with pytest.raises((ValueError, ConfigError), match=r"is empty|same folder twice"):
            ArmRun(evaluations={SPLIT: given})


def test_a_training_that_two_arms_share_is_a_caution_and_counts_once() -> None:
    values = [[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]
    arms = [make_arm(name, {SPLIT: values}) for name in ("all", "critical")]
    apart = report_on(arms)
    assert not any("checkpoint in common" in note.text for note in apart.notes)
    assert apart.seed_noise[0].arms == ("all", "critical")
    shared = arms[1].__class__(arms[1].config, arms[0].runs)
    together = report_on([arms[0], shared])
    assert any("checkpoint in common" in note.text for note in together.notes)
    assert together.seed_noise[0].arms == ("all",)


def test_identities_of_a_model_without_a_digest_are_its_name(runs: RunFolders) -> None:
    [run] = make_arm("base", {SPLIT: [[1.0]]}).runs
    assert identities_of(None, run.evaluations.values()) == frozenset()


def test_the_episodes_of_one_endpoint_do_not_pass_for_those_of_two_trainings(
    runs: RunFolders, tmp_path: Path
) -> None:
    path = runs.root / "served"
    model, episodes = {"model": Input(path="my-endpoint")}, make_episodes("critical", SPLIT, 7, 8)
    config = {"environment": "babyai", "split": SPLIT, "seed": 7, "model": "given"}
    write_run(path, "evaluate", config, model, {"episodes.jsonl": episodes}, {})
    given = [
        ArmRun(training=train_again(runs, name, name, name), evaluations={SPLIT: path})
        for name in ("one", "two")
    ]
    with pytest.raises(RunError, match="the same checkpoint or episodes"):
        build_report(with_runs(runs, *given), tmp_path / "report")


def test_trainings_on_other_trajectories_are_a_caution(runs: RunFolders) -> None:
    """Then a difference may come from the trajectories and not from the selected steps."""
    said = "Not all trainings had the same trajectories"
    before = read_built(runs)
    assert not any(said in note.text for note in before.notes)
    first, second = read_arms(runs.config)
    run = second.runs[0]
    assert run.training is not None
    manifest = run.training.folder.manifest
    inputs = manifest.inputs | {"trajectories": Input(path="others", digest="0" * 64)}
    folder = replace(run.training.folder, manifest=manifest.model_copy(update={"inputs": inputs}))
    training = replace(run.training, folder=folder)
    arms = (first, replace(second, runs=(replace(run, training=training),)))
    report = compute_report(runs.config, arms, runs.root.parent / "report")
    assert any(said in note.text and note.level == "caution" for note in report.notes)
