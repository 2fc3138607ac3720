from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("minigrid", reason="the babyai extra is not installed")

from atlas.cli.closing_lines import tell
from atlas.config import load_config
from atlas.errors import ConfigError, EpisodeError, ModelError, RunError
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.models.payments import Payment
from atlas.records import Message, Problem, Task, Trajectory
from atlas.rendering.chat_templates.stock import stock_text
from atlas.store.record_files import read_records
from atlas.store.record_log import read_log
from tests.models.endpoints.chat_server import Reply, completion, failure, serve


def quick(
    model: Path, player: Mapping[str, object] | None = None, **changes: object
) -> EvaluateConfig:
    local = {"name": "local", "max_new_tokens": 8, "precision": "fp32", "batch_size": 3}
    return EvaluateConfig.model_validate(
        {
            "model": str(model),
            "episodes": 6,
            "environment": {"name": "babyai", "max_steps": 3},
            "player": local | dict(player or {}),
            "worlds": 4,
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


def test_a_given_chat_template_is_an_input_by_content(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(stock_text("chatml-calls"), encoding="utf-8")
    config = quick(tiny_model_folder, {"chat_template": str(file)}, episodes=1)
    manifest = evaluate_agent(config, tmp_path / "run")
    digest = manifest.inputs["chat_template"].digest
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_text(stock_text("phi-3-calls"), encoding="utf-8")
    with pytest.raises(RunError, match="input chat_template"):
        evaluate_agent(config, tmp_path / "run")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_settings_give_the_same_episodes(
    tiny_model_folder: Path, tmp_path: Path, temperature: float
) -> None:
    for name in ("one", "two"):
        evaluate_agent(quick(tiny_model_folder, {"temperature": temperature}), tmp_path / name)
    assert (tmp_path / "one" / "episodes.jsonl").read_bytes() == (
        tmp_path / "two" / "episodes.jsonl"
    ).read_bytes()


def test_another_sampling_seed_plays_the_same_tasks_with_other_answers(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    sampled = {"temperature": 1.0}
    for name, seeds in (("first", {}), ("again", {"sampling_seed": 1}), ("same", {})):
        evaluate_agent(quick(tiny_model_folder, sampled, **seeds), tmp_path / name)
    first, again, same = (episodes(tmp_path / name) for name in ("first", "again", "same"))
    assert [episode.task for episode in again] == [episode.task for episode in first]
    answers = [
        [step.response for episode in run for step in episode.steps] for run in (first, again, same)
    ]
    assert answers[0] != answers[1]
    assert answers[0] == answers[2]


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
    evaluate_agent(quick(tiny_model_folder, {"max_context": 16}), tmp_path / "run")
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


def test_an_outside_environment_with_settings_is_evaluated_and_its_invalid_steps_are_flagged(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    push = {"name": "tests.environments.push:PushEnvironment", "max_steps": 2}
    evaluate_agent(quick(tiny_model_folder, environment=push), tmp_path / "run")
    played = episodes(tmp_path / "run")
    assert {episode.task.environment for episode in played} == {"push"}
    assert all(len(episode.steps) == 2 for episode in played)
    assert all(step.is_invalid for episode in played for step in episode.steps)


def test_settings_of_environment_and_player_are_found_from_the_command_line() -> None:
    config = load_config(
        EvaluateConfig,
        None,
        ["max_steps=7", "endpoint.base_url=http://127.0.0.1:8000/v1", "temperature=0.5"],
        {"model": "m", "player": "endpoint"},
    )
    assert config.environment.settings.max_steps == 7
    assert config.player.settings.endpoint.base_url == "http://127.0.0.1:8000/v1"
    assert config.player.settings.temperature == 0.5
    with pytest.raises(ConfigError, match=r"'max_new_token'\. Did you mean 'max_new_tokens'"):
        load_config(EvaluateConfig, None, ["max_new_token=7"], {"model": "m"})


# ---- a model over a network ----


def remote(url: str, **changes: object) -> EvaluateConfig:
    endpoint = {"base_url": url, "max_in_flight": 3, "max_retries": 0}
    return EvaluateConfig.model_validate(
        {
            "model": "lab/m",
            "player": {"name": "endpoint", "endpoint": endpoint, "max_tokens": 50},
            "environment": {"name": "tests.environments.push:PushEnvironment"},
            "episodes": 8,
            "worlds": 5,
        }
        | changes
    )


def test_a_served_model_plays_with_many_episodes_in_flight(tmp_path: Path) -> None:
    with serve(lambda body, _: completion("push", delay=0.02)) as server:
        manifest = evaluate_agent(remote(server.url), tmp_path / "run")
    played = episodes(tmp_path / "run")
    assert [episode.task.id for episode in played] == [f"push/{number}" for number in range(8)]
    assert {episode.outcome.status for episode in played} == {"success"}
    assert len(server.requests) == sum(len(episode.steps) for episode in played)
    assert manifest.inputs["model"].path == "lab/m"
    longest = max(server.requests, key=lambda body: len(body["messages"]))
    roles = [message["role"] for message in longest["messages"]]
    assert roles == ["system", "user", *["assistant", "user"] * 3]
    assert (longest["max_tokens"], longest["temperature"]) == (50, 0.0)
    assert "tools" not in longest


def test_native_tool_calls_of_a_served_model_reach_the_world_and_are_recorded(
    tmp_path: Path,
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        assert body["tools"][0]["function"]["name"] == "push"
        call = {"id": f"c{number}", "type": "function"}
        call["function"] = {"name": "push", "arguments": '{"force": 3}'}
        reply = json.loads(completion(None, finish_reason="tool_calls").body)
        reply["choices"][0]["message"]["tool_calls"] = [call]
        return Reply(json.dumps(reply))

    world = {"name": "tests.environments.push:ToolPushEnvironment", "strength": 2}
    with serve(answer) as server:
        evaluate_agent(remote(server.url, environment=world), tmp_path / "run")
    played = episodes(tmp_path / "run")
    assert {episode.outcome.status for episode in played} == {"success"}
    last = max(played, key=lambda episode: len(episode.steps))
    assert [step.response.tool_calls[0].name for step in last.steps] == ["push"] * 4
    assert last.tools[0]["function"]["name"] == "push"
    for before, after in pairwise(last.steps):
        assert after.observation[0].tool_call_id == before.response.tool_calls[0].id
    asked = max(server.requests, key=lambda body: len(body["messages"]))["messages"]
    assert asked[2]["tool_calls"][0]["function"]["arguments"] == '{"force": 3}'
    assert asked[3]["role"] == "tool"


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (completion(None, refusal="I will not"), "error", "I will not"),
        (failure(400, "This model's maximum context length is 64"), "truncated", "context length"),
        (failure(500, "it broke"), "error", "it broke"),
    ],
)
def test_an_episode_without_an_answer_keeps_the_reason_and_the_others_go_on(
    tmp_path: Path, reply: Reply, status: str, reason: str
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        pushes = sum(message["role"] == "assistant" for message in body["messages"])
        return reply if pushes == 3 else completion("push")

    with serve(answer) as server:
        evaluate_agent(remote(server.url), tmp_path / "run")
    ended = [episode.outcome for episode in episodes(tmp_path / "run")]
    assert [outcome.status for outcome in ended] == ["success", "success", "success", status] * 2
    assert reason in (ended[3].reason or "")


def test_a_key_that_is_not_accepted_ends_the_run_and_an_interrupted_run_goes_on(
    tmp_path: Path,
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(401, "no such key") if number >= 6 else completion("push")

    with serve(answer) as server, pytest.raises(ModelError, match="no such key"):
        evaluate_agent(remote(server.url, worlds=1), tmp_path / "run")
    kept = (tmp_path / "run" / "episodes.jsonl.partial").read_bytes()
    assert kept.count(b"\n") == 3
    with serve(lambda body, _: completion("push")) as server:
        evaluate_agent(remote(server.url), tmp_path / "run")
    assert len(server.requests) == 4 + 1 + 2 + 3 + 4
    assert len(episodes(tmp_path / "run")) == 8


def test_a_continued_evaluation_has_the_date_of_its_first_day(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.models.local import local_player
    from atlas.store import run_folders

    class FirstDay(datetime.date):
        @classmethod
        def today(cls) -> FirstDay:
            return cls(2024, 2, 28)

    days: list[object] = []
    load = local_player.load_renderer

    def watched(place: Any, template: Any, day: Any) -> Any:
        days.append(day)
        return load(place, template, day)

    monkeypatch.setattr(local_player, "load_renderer", watched)
    monkeypatch.setattr(run_folders, "date", FirstDay)
    config = quick(tiny_model_folder, episodes=2)
    evaluate_agent(config, tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    unfinished = json.loads(manifest.read_text()) | {"status": "running"}
    manifest.write_text(json.dumps(unfinished))
    (tmp_path / "run" / "episodes.jsonl").rename(tmp_path / "run" / "kept.jsonl")
    monkeypatch.setattr(run_folders, "date", datetime.date)
    evaluate_agent(config, tmp_path / "run")
    assert days == [datetime.date(2024, 2, 28)] * 2


def test_what_a_served_model_used_and_its_name_are_recorded_also_after_a_break(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, fails_from = tmp_path / "run", 6

    def answer(body: dict[str, Any], number: int) -> Reply:
        if number >= fails_from:
            return failure(401, "no such key")
        usage = {"prompt_tokens": 10, "completion_tokens": 3} if number else {"prompt_tokens": -1}
        body = json.loads(completion("push").body) | {"model": "\x1b[2Jm-2026", "usage": usage}
        return Reply(json.dumps(body))

    with serve(answer) as server, pytest.raises(ModelError, match="no such key"):
        evaluate_agent(remote(server.url, worlds=1), out)
    [*_, paid] = read_log(out / "spent.jsonl", Payment)
    assert (paid.requests, paid.estimated) == (6, 1)
    fails_from = 1_000
    with serve(answer) as server:
        manifest = evaluate_agent(remote(server.url), out)
        num_answers = 6 + len(server.requests)
    summary = manifest.summary
    assert summary["answered_by"] == {"\\x1b[2Jm-2026": num_answers}
    assert (summary["usage"]["requests"], summary["usage_estimated_for"]) == (num_answers, 2)
    assert summary["usage"]["output_tokens"] == 3 * (num_answers - 2) + 2 * 2
    assert (
        next(iter(read_records(out / "spent.jsonl", Payment))).answered_by == summary["answered_by"]
    )
    tell(manifest, out)
    assert f"lab/m, answered by \\x1b[2Jm-2026 ({num_answers} answers)" in capsys.readouterr().out


def test_a_local_model_is_not_paid(tiny_model_folder: Path, tmp_path: Path) -> None:
    manifest = evaluate_agent(quick(tiny_model_folder, episodes=1), tmp_path / "run")
    assert "usage" not in manifest.summary
    assert not list((tmp_path / "run").glob("spent*"))
