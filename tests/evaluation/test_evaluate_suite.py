"""Suites: the same tasks for every model, resumed, with what is missing named before the start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from atlas.config import check_config
from atlas.errors import ConfigError, DependencyError, EpisodeError, RunError
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.evaluation.evaluate_suite import EvaluateSuiteConfig, evaluate_suite
from atlas.evaluation.suite_metrics import SuiteMetrics
from atlas.records import Message, Problem, Task, Trajectory
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest
from tests.environments.push import PushConfig, PushEnvironment
from tests.models.endpoints.chat_server import Reply, completion, failure, serve

ROOT = Path(__file__).resolve().parents[2]
PUSH = "tests.environments.push:PushEnvironment"
TOOLS = "tests.environments.push:ToolPushEnvironment"


class LateConfig(PushConfig):
    max_steps: int = Field(default=6, ge=1, description="turns")


class AbsentEnvironment(PushEnvironment):
    """Needs a package that is not installed."""

    name = "absent"

    def __init__(self, config: PushConfig) -> None:
        raise DependencyError("nothing", "all")


class UnreachableEnvironment(PushEnvironment):
    """Its server is not there."""

    name = "unreachable"

    def reset(self, task: Task) -> tuple[Message, ...]:
        raise EpisodeError("http://127.0.0.1:9 does not answer")


class NotingEnvironment(PushEnvironment):
    """Has a remark on each split."""

    name = "noting"

    def notes(self, split: str) -> Sequence[str]:
        return [f"3 tasks of {split} are training tasks"]


class DyingEnvironment(PushEnvironment):
    """Breaks at the first push of an episode whose number is 1, once per process."""

    name = "dying"
    num_deaths = 0

    def step(self, response: Message) -> Any:
        if self.num_needed == 2 and not DyingEnvironment.num_deaths:
            DyingEnvironment.num_deaths += 1
            raise RuntimeError("the server was killed")
        return super().step(response)


def here(name: str) -> str:
    return f"{__name__}:{name}"


ENTRIES: dict[str, Any] = {
    "door": {"environment": PUSH, "episodes": 4, "ring": "held_in", "difficulty": "easy"},
    "door-long": {
        "environment": {"name": PUSH, "max_steps": 3},
        "episodes": 8,
        "ring": "held_out_sizes",
        "difficulty": "hard",
    },
    "tool": {"environment": TOOLS, "episodes": 2, "ring": "held_out_families"},
}


def served(url: str, entries: Any = ENTRIES, **changes: Any) -> EvaluateSuiteConfig:
    endpoint = {"base_url": url, "max_in_flight": 16, "max_retries": 0}
    values = {
        "model": "m",
        "suite": {"title": "doors", "entries": entries},
        "player": {"name": "endpoint", "endpoint": endpoint, "max_tokens": 50},
    }
    return check_config(EvaluateSuiteConfig, values | changes, "recipe")


def push(body: dict[str, Any], number: int) -> Reply:
    if "tools" not in body:
        return completion("push", tokens=(10, 2))
    call = {"id": f"c{number}", "type": "function"}
    call["function"] = {"name": "push", "arguments": '{"force": 3}'}  # type: ignore[assignment]
    return completion(None, tool_calls=[call], tokens=(20, 5))


def metrics_of(out: Path) -> SuiteMetrics:
    return SuiteMetrics.model_validate_json((out / "metrics.json").read_bytes())


def test_every_entry_is_an_ordinary_evaluation_and_the_figures_are_macro_averages(
    tmp_path: Path,
) -> None:
    with serve(push) as server:
        manifest = evaluate_suite(served(server.url), tmp_path / "suite")
        player = {"name": "endpoint", "max_tokens": 50}
        player["endpoint"] = {"base_url": server.url}  # type: ignore[assignment]
        config = check_config(
            EvaluateConfig,
            {"model": "m", "environment": PUSH, "episodes": 4, "player": player},
            "recipe",
        )
        evaluate_agent(config, tmp_path / "one")
    entry = tmp_path / "suite" / "door"
    for name in ("episodes.jsonl", "metrics.json"):
        assert (entry / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert len(list(read_trajectories(entry))) == 4
    metrics = metrics_of(tmp_path / "suite")
    rates = {name: one.figures.success_rate.value for name, one in metrics.entries.items()}
    assert rates == {"door": 1.0, "door-long": 0.75, "tool": 1.0}
    # The two entries of one world count as one world.
    assert metrics.total.success_rate.value == pytest.approx((0.875 + 1.0) / 2)
    assert (metrics.total.num_entries, metrics.total.num_worlds) == (3, 2)
    assert metrics.rings["held_out_sizes"].success_rate.value == 0.75
    assert metrics.difficulties["hard"].num_truncated == 2
    assert manifest.summary["rings"].keys() == metrics.rings.keys()
    tool = metrics.entries["tool"].figures
    # Tasks that need one and two pushes.
    assert (tool.mean_input_tokens.value, tool.mean_output_tokens.value) == (30, 7.5)
    requests = sum(len(episode.steps) for name in ENTRIES for episode in played(tmp_path, name))
    assert manifest.summary["usage"]["requests"] == requests


def played(folder: Path, name: str) -> list[Trajectory]:
    return list(read_records(folder / "suite" / name / "episodes.jsonl", Trajectory))


def test_every_model_plays_the_same_tasks(tmp_path: Path) -> None:
    tasks = []
    for name, answer in {"good": push, "bad": lambda body, number: completion("sleep")}.items():
        with serve(answer) as server:
            evaluate_suite(served(server.url, model=name), tmp_path / name / "suite")
        tasks.append([[e.task for e in played(tmp_path / name, entry)] for entry in ENTRIES])
    assert tasks[0] == tasks[1]


def test_a_missing_package_or_server_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    entries = {
        **ENTRIES,
        "gone": {"environment": here("AbsentEnvironment")},
        "dead": {"environment": here("UnreachableEnvironment")},
    }
    with serve(push) as server:
        with pytest.raises(ConfigError) as caught:
            evaluate_suite(served(server.url, entries), tmp_path / "a")
        assert not server.requests
        said = str(caught.value)
        assert "gone: the package 'nothing' is not installed" in said
        assert "dead: " in said
        assert "127.0.0.1:9 does not answer" in said
        assert "skip_missing=true" in said
        manifest = evaluate_suite(
            served(server.url, entries, skip_missing=True), tmp_path / "suite"
        )
    assert metrics_of(tmp_path / "suite").left_out.keys() == {"gone", "dead"}
    problems = read_records(tmp_path / "suite" / "problems.jsonl", Problem)
    assert [problem.item for problem in problems] == ["gone", "dead"]
    assert manifest.summary["num_entries"] == 3
    assert not (tmp_path / "suite" / "gone").exists()


def test_an_unknown_setting_of_an_entry_is_never_left_out(tmp_path: Path) -> None:
    wrong = {**ENTRIES, "x": {"environment": PUSH, "split": "tset"}}
    with serve(push) as server, pytest.raises(ConfigError, match="x: push: split 'tset'"):
        evaluate_suite(served(server.url, wrong), tmp_path / "suite")
    longer = {**ENTRIES, "x": {"environment": PUSH, "player": {"top_q": 1}}}
    with pytest.raises(ConfigError, match=r"entries\.x.*top_q"):
        evaluate_suite(
            served("http://127.0.0.1:9/v1", longer, skip_missing=True), tmp_path / "other"
        )


def test_a_world_that_dies_costs_the_retry_of_its_episode(tmp_path: Path) -> None:
    entries = {"dying": {"environment": here("DyingEnvironment"), "episodes": 4}}
    with serve(push) as server:
        evaluate_suite(served(server.url, entries), tmp_path / "suite")
    assert DyingEnvironment.num_deaths == 1
    assert {e.outcome.status for e in played(tmp_path, "dying")} == {"success"}
    # One more answer than pushes that were needed.
    assert len(server.requests) == 1 + 2 + 3 + 4 + 1


def test_crashed_and_refused_episodes_are_counted_apart(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        pushes = sum(message["role"] == "assistant" for message in body["messages"])
        if pushes == 2:
            return completion(None, refusal="I will not")
        return failure(500, "it broke") if pushes == 3 else completion("push")

    entries = {"door": {"environment": PUSH, "episodes": 4}}

    def breaks(body: dict[str, Any], number: int) -> Reply:
        pushes = sum(message["role"] == "assistant" for message in body["messages"])
        return failure(500, "it broke") if pushes == 3 else completion("push")

    for name, reply in {"refuses": answer, "breaks": breaks}.items():
        with serve(reply) as server:
            evaluate_suite(served(server.url, entries), tmp_path / name)
    counted = {
        name: (total.num_valid, total.num_crashed, total.num_refused)
        for name in ("refuses", "breaks")
        for total in [metrics_of(tmp_path / name).total]
    }
    assert counted == {"refuses": (2, 0, 2), "breaks": (3, 1, 0)}


def test_an_entry_that_is_in_no_average_is_said(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return completion(None, refusal="I will not") if "tools" in body else completion("push")

    entries = {name: ENTRIES[name] for name in ("door", "tool")}
    with serve(answer) as server:
        evaluate_suite(served(server.url, entries), tmp_path / "suite")
    [problem] = read_records(tmp_path / "suite" / "problems.jsonl", Problem)
    assert problem.item == "tool"
    assert "in no average, because none of its 2 episodes can be scored" in problem.reason
    assert problem.reason.endswith("I will not")


def test_several_processes_play_a_suite_with_the_same_result(tmp_path: Path) -> None:
    entries = {"door": ENTRIES["door"]}
    with serve(push) as server:
        one = evaluate_suite(served(server.url, entries), tmp_path / "one")
        two = evaluate_suite(served(server.url, entries, workers=2, worlds=2), tmp_path / "two")
    assert one.outputs["door/episodes.jsonl"] == two.outputs["door/episodes.jsonl"]


def test_remarks_of_an_environment_are_printed_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {"noting": {"environment": here("NotingEnvironment"), "episodes": 1}}
    with serve(push) as server:
        manifest = evaluate_suite(served(server.url, entries), tmp_path / "suite")
    note = "3 tasks of held_in_test are training tasks"
    assert manifest.summary["notes"] == {"noting": [note]}
    assert read_manifest(tmp_path / "suite" / "noting").summary["notes"] == [note]
    assert note in capsys.readouterr().err


def test_other_settings_are_refused_and_another_address_is_not(tmp_path: Path) -> None:
    with serve(push) as server:
        evaluate_suite(served(server.url), tmp_path / "suite")
    evaluate_suite(served("http://127.0.0.1:9/v1", worlds=3), tmp_path / "suite")
    fewer = {**ENTRIES, "door": {**ENTRIES["door"], "episodes": 3}}
    with pytest.raises(RunError, match=r"suite\.entries\.door\.episodes: 4 there, 3 now"):
        evaluate_suite(served("http://127.0.0.1:9/v1", fewer), tmp_path / "suite")


def test_the_longest_answer_is_a_setting_of_the_entry_for_any_player(tmp_path: Path) -> None:
    entries = {"door": {"environment": PUSH, "episodes": 1, "max_answer_tokens": 9}}
    with serve(push) as server:
        evaluate_suite(served(server.url, entries), tmp_path / "a")
        evaluate_suite(served(server.url, entries, max_answer_tokens=77), tmp_path / "b")
    assert [body["max_tokens"] for body in server.requests] == [9, 77]


def test_a_local_model_is_loaded_once_for_all_entries(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.models.local import local_player

    loads: list[object] = []
    load = local_player.load_model
    monkeypatch.setattr(
        local_player, "load_model", lambda *given: (loads.append(given), load(*given))[1]
    )
    entries = {
        "door": {"environment": PUSH, "episodes": 3, "max_answer_tokens": 4},
        "tool": {"environment": TOOLS, "episodes": 2, "player": {"max_context": 1024}},
    }
    local = {"name": "local", "precision": "fp32", "max_new_tokens": 6}
    config = served("http://127.0.0.1:9/v1", entries, player=local, model=str(tiny_model_folder))
    evaluate_suite(config, tmp_path / "suite")
    assert len(loads) == 1
    alone = check_config(
        EvaluateConfig,
        {
            "model": str(tiny_model_folder),
            "environment": TOOLS,
            "episodes": 2,
            "player": {**local, "max_context": 1024},
        },
        "recipe",
    )
    evaluate_agent(alone, tmp_path / "alone")
    for name in ("episodes.jsonl", "metrics.json"):
        one = (tmp_path / "alone" / name).read_bytes()
        assert (tmp_path / "suite" / "tool" / name).read_bytes() == one
    digests = {read_manifest(tmp_path / "suite" / n).inputs["model"].digest for n in entries}
    assert len(digests) == 1
    folder = read_manifest(tmp_path / "suite" / "tool").inputs["model"].path
    assert (tmp_path / "suite" / "tool" / folder).resolve() == tiny_model_folder.resolve()


def test_after_kill_9_only_the_episodes_in_flight_are_played_again(tmp_path: Path) -> None:
    recipe, out = tmp_path / "suite.json.yaml", tmp_path / "suite"
    recipe.write_text(json.dumps({"entries": ENTRIES}), encoding="utf-8")
    stop_at = 12

    def answer(body: dict[str, Any], number: int) -> Reply:
        reply = push(body, number)
        if number >= stop_at:
            # It hangs until the process is killed.
            return Reply(reply.body, delay=20.0)
        return reply

    command = [sys.executable, "-m", "atlas", "evaluate", "--suite", str(recipe)]
    command += ["--out", str(out), "--model", "m", "worlds=1"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    with serve(answer) as server:
        process = subprocess.Popen(
            [*command, "--base-url", server.url], env=environment, cwd=tmp_path
        )
        deadline = time.monotonic() + 60
        while len(server.requests) <= stop_at and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        first = len(server.requests)
        assert first == stop_at + 1
        # The first entry took 1 + 2 + 3 + 4 answers. The third one of the second entry was cut off.
        assert (out / "door" / "metrics.json").exists()
        stop_at = 1_000
        done = subprocess.run(
            [*command, "--base-url", server.url],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    # All that was played, and again only the turns of the episode in flight.
    needed = (1 + 2 + 3 + 4) + 2 * (1 + 2 + 3 + 3) + (1 + 2)
    in_flight = first - 10 - 1
    assert len(server.requests) == needed + in_flight
    assert metrics_of(out).total.num_episodes == 14
    starts = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert starts[:4] == ["entry", "door", "door-long", "tool"]
    # Three rings, and all of them.
    assert starts[4:8] == ["average over worlds"] * 4
