from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("minigrid", reason="the babyai extra is not installed")

from atlas.errors import ConfigError, EpisodeError, ModelError
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.records import Message, Problem, Task, Trajectory
from atlas.store.record_files import read_records


def quick(model: Path, **changes: object) -> EvaluateConfig:
    return EvaluateConfig.model_validate(
        {
            "model": str(model),
            "episodes": 6,
            "max_steps": 3,
            "max_new_tokens": 8,
            "batch_size": 4,
            "precision": "fp32",
        }
        | changes
    )


def episodes(run: Path) -> list[Trajectory]:
    return list(read_records(run / "episodes.jsonl", Trajectory))


def test_every_task_is_played_once_and_recorded_in_order(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    manifest = evaluate_agent(quick(tiny_model_folder), tmp_path / "run")
    played = episodes(tmp_path / "run")
    assert len({episode.task.id for episode in played}) == 6 == manifest.summary["num_episodes"]
    assert all(
        len(episode.steps) == 3 for episode in played if episode.outcome.status == "truncated"
    )
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["num_episodes"] == 6


def test_a_model_without_a_system_turn_is_played_with_the_text_in_the_first_user_turn_and_says_so(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "model")
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + template.read_text()
    )
    manifest = evaluate_agent(quick(tmp_path / "model", episodes=2), tmp_path / "run")
    assert manifest.summary["num_episodes"] == 2
    assert not (tmp_path / "run" / "problems.jsonl").read_text()
    assert "has no system turn" in capsys.readouterr().err


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_settings_give_the_same_episodes(
    tiny_model_folder: Path, tmp_path: Path, temperature: float
) -> None:
    for name in ("one", "two"):
        evaluate_agent(quick(tiny_model_folder, temperature=temperature), tmp_path / name)
    assert (tmp_path / "one" / "episodes.jsonl").read_bytes() == (
        tmp_path / "two" / "episodes.jsonl"
    ).read_bytes()


def test_an_interrupted_evaluation_plays_only_what_is_missing(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_agent(quick(tiny_model_folder), tmp_path / "whole")

    from atlas.evaluation import evaluate_agent as module
    from atlas.store.record_log import RecordLog

    appended = []
    append = RecordLog.append

    def breaks_after_two(self: RecordLog[Trajectory], record: Trajectory) -> None:
        if len(appended) == 2:
            raise KeyboardInterrupt
        appended.append(record.task.id)
        append(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(RecordLog, "append", breaks_after_two)
        with pytest.raises(KeyboardInterrupt):
            module.evaluate_agent(quick(tiny_model_folder), tmp_path / "cut")
    again: list[str] = []
    monkeypatch.setattr(
        RecordLog,
        "append",
        lambda self, record: (again.append(record.task.id), append(self, record))[1],
    )
    module.evaluate_agent(quick(tiny_model_folder), tmp_path / "cut")
    assert len(again) == 4
    assert not set(again) & set(appended)
    assert [e.task for e in episodes(tmp_path / "cut")] == [
        e.task for e in episodes(tmp_path / "whole")
    ]


def test_an_episode_whose_environment_breaks_is_an_error_and_not_a_failure(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.environments.babyai.environment import BabyAIEnvironment

    reset = BabyAIEnvironment.reset

    def breaks_sometimes(self: BabyAIEnvironment, task: Task) -> tuple[Message, ...]:
        if task.group == "GoToLocal":
            raise EpisodeError("the level burned down")
        return reset(self, task)

    monkeypatch.setattr(BabyAIEnvironment, "reset", breaks_sometimes)
    manifest = evaluate_agent(quick(tiny_model_folder), tmp_path / "run")
    broken = [
        episode for episode in episodes(tmp_path / "run") if episode.outcome.status == "error"
    ]
    assert [episode.outcome.reason for episode in broken] == ["the level burned down"]
    assert broken[0].outcome.score is None
    assert (manifest.summary["num_errors"], manifest.summary["num_valid"]) == (1, 5)
    assert [
        problem.item for problem in read_records(tmp_path / "run" / "problems.jsonl", Problem)
    ] == [broken[0].id]


def test_a_history_that_outgrows_the_context_truncates_the_episode_with_its_reason(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    evaluate_agent(quick(tiny_model_folder, max_context=16), tmp_path / "run")
    for episode in episodes(tmp_path / "run"):
        assert (episode.outcome.status, len(episode.steps)) == ("truncated", 0)
        assert "16 tokens" in (episode.outcome.reason or "")


def test_unknown_splits_environments_and_models_are_named(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="held_in_test"):
        evaluate_agent(quick(tiny_model_folder, split="held_in_tset"), tmp_path / "a")
    with pytest.raises(ConfigError, match="babyai"):
        evaluate_agent(quick(tiny_model_folder, environment="babyia"), tmp_path / "b")
    with pytest.raises(ModelError, match="does not exist"):
        evaluate_agent(quick(tmp_path / "nowhere" / "at" / "all"), tmp_path / "c")
