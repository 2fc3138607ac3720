"""A player that starts a server of its model, and ends it with itself, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from atlas.config import check_config
from atlas.errors import ConfigError, ModelError, ProgramError
from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
from atlas.evaluation.evaluate_suite import EvaluateSuiteConfig, evaluate_suite
from atlas.kinds import Choice
from atlas.models.local.load import ADAPTER_FILE, ModelPlace, locate_model
from atlas.models.players import PLAYER, Player
from atlas.models.served import guard
from atlas.models.served.served_player import ServedPlayerConfig, server_command
from atlas.records import Message, Trajectory
from atlas.store.record_files import read_records
from tests.models.served.serving import settings, started, wait_until_gone

ENVIRONMENT = {"name": "babyai", "max_steps": 4}


def make(model: Path, notes: Path, options: str = "", **more: Any) -> Player:
    player: Player = PLAYER.make(Choice("served", settings(notes, options, **more)), str(model), 0)
    return player


def answer(player: Player, text: str) -> str:
    player.submit("a", [Message(role="user", content=text)])
    said = player.next_answers(30.0)["a"].message.content
    player.close("a")
    return str(said)


def test_the_server_gets_the_model_and_ends_with_the_player(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    player = make(tiny_model_folder, tmp_path)
    assert answer(player, "hello") == "1 hello"
    [arguments] = started(tmp_path)
    assert arguments[arguments.index("--model") + 1] == str(tiny_model_folder)
    player.end()
    assert wait_until_gone(tmp_path) == []


def test_no_server_outlives_a_process_that_is_killed(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    made = json.dumps([settings(tmp_path), str(tiny_model_folder)])
    code = (
        "import json, os, signal, sys\n"
        "from atlas.kinds import Choice\n"
        "from atlas.models.players import PLAYER\n"
        "settings, model = json.loads(sys.argv[1])\n"
        "PLAYER.make(Choice('served', settings), model, 0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, made], capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr
    assert len(started(tmp_path)) == 1
    assert wait_until_gone(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "more", "told"),
    [
        ("--dies-at-once --port no", {}, "invalid int value"),
        ("--silent", {"start_seconds": 2.0}, "does not answer"),
        ("--drips", {"start_seconds": 3.0}, "after 3 seconds"),
    ],
)
def test_a_server_that_does_not_start_is_an_error_with_what_it_printed(
    tiny_model_folder: Path, tmp_path: Path, options: str, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(ModelError, match="It printed last") as caught:
        make(tiny_model_folder, tmp_path, options, **more)
    assert told in str(caught.value)
    assert wait_until_gone(tmp_path) == []


def test_a_server_that_dies_ends_the_run_and_the_same_command_finishes_it(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    def evaluate(options: str | None) -> list[Trajectory]:
        played = {"endpoint": {"max_in_flight": 1, "max_retries": 0}, "options": options}
        player = settings(notes, "--answer 'Action: go forward'", **played)
        values = {
            "model": str(tiny_model_folder),
            "player": {"name": "served", **player},
            "environment": ENVIRONMENT,
            "episodes": 4,
            "worlds": 1,
        }
        evaluate_agent(check_config(EvaluateConfig, values, "test"), tmp_path / "run")
        return list(read_records(tmp_path / "run" / "episodes.jsonl", Trajectory))

    notes = tmp_path / "notes"
    notes.mkdir()
    # The third episode breaks off.
    with pytest.raises(ModelError, match=r"(?s)ended with status 3.*out of memory \\x1b"):
        evaluate("--dies-after 11")
    assert wait_until_gone(notes) == []
    episodes = evaluate(None)
    assert len(episodes) == 4
    assert all(episode.outcome.is_valid for episode in episodes)
    assert len(started(notes)) == 2
    # Each server was asked once before play. The first one died at its 12th question, in the third
    # episode of 4 answers; the second one played that and the fourth, and not the first two.
    assert len((notes / "keys").read_text().splitlines()) == 12 + (1 + 2 * 4)


def test_all_entries_of_a_suite_share_one_server(tiny_model_folder: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    entry = {"environment": ENVIRONMENT, "episodes": 2}
    values = {
        "model": str(tiny_model_folder),
        "player": {"name": "served", **settings(notes, "--answer push")},
        "suite": {"entries": {"one": entry, "two": {**entry, "max_answer_tokens": 5}}},
    }
    evaluate_suite(check_config(EvaluateSuiteConfig, values, "test"), tmp_path / "run")
    assert len(started(notes)) == 1
    assert wait_until_gone(notes) == []
    # The entry with shorter answers was played with its own length.
    episodes = list(read_records(tmp_path / "run" / "two" / "episodes.jsonl", Trajectory))
    assert len(episodes) == 2


def test_other_settings_of_the_server_need_another_server(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    player = make(tiny_model_folder, tmp_path)
    again = player.reopened(ServedPlayerConfig(**settings(tmp_path, options="--answer other")))
    assert answer(again, "hello") == "other"
    assert len(started(tmp_path)) == 2
    again.end()
    assert wait_until_gone(tmp_path) == []


def test_the_server_gets_the_chat_template_that_is_set(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "short.jinja"
    file.write_text("{% for message in messages %}{{ message.content }}\n{% endfor %}")
    player = make(tiny_model_folder, tmp_path, chat_template=str(file))
    player.end()
    assert (tmp_path / "template").read_text() == file.read_text()


def test_adapters_are_served_with_their_base_model(tmp_path: Path) -> None:
    written = {"base_model_name_or_path": "org/base", "r": 12, "rank_pattern": {"q": 33}}
    (tmp_path / ADAPTER_FILE).write_text(json.dumps(written))
    words = server_command(ServedPlayerConfig(), locate_model(str(tmp_path)), "n", 8123)
    assert words[:3] == ["vllm", "serve", "org/base"]
    assert words[words.index("--max-lora-rank") + 1] == "64"
    assert words[words.index("--lora-modules") + 1] == f"n={tmp_path}"
    assert words[words.index("--host") + 1] == "127.0.0.1"


def test_a_path_with_blanks_and_braces_stays_one_argument() -> None:
    config = ServedPlayerConfig(command="serve {model} --at={port} {name}", options="-n 'a b' {x}")
    words = server_command(config, ModelPlace("m", "/a b/{c}"), "n", 1)
    assert words == ["serve", "/a b/{c}", "--at=1", "n", "-n", "a b", "{x}"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"command": "vllm serve {modle} --port {port}"}, "{modle}"),
        ({"command": "vllm serve {} --port {port}"}, "not known"),
        ({"command": "vllm serve {model.real} --port {port}"}, "not known"),
        ({"command": "vllm serve {model --port {port}"}, "not known"),
        ({"command": "vllm serve {model}"}, "lacks {name}, {port}"),
        ({"command": "vllm serve m --port {{port}} {name}"}, "lacks {model}, {port}"),
        ({"options": "--api-key=sk-123456789"}, "holds a key"),
        ({"command": "vllm 'serve --port {port}"}, "cannot be split"),
        ({"options": "--name 'a"}, "cannot be split"),
        ({"endpoint": {"base_url": "http://127.0.0.1:1/v1"}}, "starts its own server"),
    ],
)
def test_a_command_that_cannot_work_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(
            EvaluateConfig, {"model": "m", "player": {"name": "served", **changed}}, "test"
        )
    assert told in str(caught.value)


def test_a_missing_program_is_told_before_anything_starts(tmp_path: Path) -> None:
    from atlas.config import require_installed

    values = {
        "model": "m",
        "player": {
            "name": "served",
            "command": "no-such-server {port} {model} {name}",
            "adapter_command": "no-such-server {port} {model} {name}",
        },
    }
    with pytest.raises(ProgramError, match="no-such-server"):
        require_installed(check_config(EvaluateConfig, values, "test"))


def test_a_server_that_dies_behind_a_program_that_stays_ends_the_run(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    given = settings(tmp_path, "--dies-after 1", endpoint={"max_retries": 0})
    given["command"] = f"sh -c '{given['command']}; sleep 600'"
    player: Player = PLAYER.make(Choice("served", given), str(tiny_model_folder), 0)
    with pytest.raises(ModelError, match="no longer answers"):
        answer(player, "hello")
    player.end()
    assert wait_until_gone(tmp_path) == []


def test_a_server_that_lists_a_model_while_it_loads_is_waited_for(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    player = make(tiny_model_folder, tmp_path, "--loads 2", endpoint={"max_retries": 0})
    assert answer(player, "hello") == "1 hello"
    player.end()


def test_a_server_in_the_background_is_an_error_and_ends(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="ended with status 0"):
        make(tiny_model_folder, tmp_path, "--daemon")
    assert wait_until_gone(tmp_path) == []


def test_no_key_and_no_proxy_is_used_unless_it_is_named(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody")
    for endpoint in ({}, {"api_key_variable": "OPENAI_API_KEY"}):
        player = make(tiny_model_folder, tmp_path, endpoint=endpoint)
        assert answer(player, "hello") == "1 hello"
        player.end()
    keys = (tmp_path / "keys").read_text().splitlines()
    assert keys[2:] == ["Bearer sk-of-somebody"] * 2
    assert not any("somebody" in key for key in keys[:2])


def test_a_setting_of_the_endpoint_leaves_the_others_as_they_are() -> None:
    config = ServedPlayerConfig.model_validate({"endpoint": {"max_retries": 1}})
    assert config.endpoint.max_retries == 1
    assert config.endpoint.max_in_flight == ServedPlayerConfig().endpoint.max_in_flight == 64


@pytest.mark.parametrize("written", ["[]", "{}", "no", '{"base_model_name_or_path": null}', "\xff"])
def test_adapters_without_a_base_model_are_an_error(tmp_path: Path, written: str) -> None:
    (tmp_path / ADAPTER_FILE).write_text(written, encoding="latin-1")
    with pytest.raises(ModelError, match="low-rank adapters"):
        server_command(ServedPlayerConfig(), locate_model(str(tmp_path)), "n", 1)


def test_a_guard_that_is_asked_to_end_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    program = "import os, sys, time; open(sys.argv[1] + str(os.getpid()), 'w'); time.sleep(600)"
    command = [sys.executable, "-c", program, f"{tmp_path}/"]
    for turn in range(20):
        made = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, *command], stdin=subprocess.PIPE
        )
        time.sleep(turn / 100)
        made.terminate()
        made.wait(30)
        assert made.stdin is not None
        made.stdin.close()
    assert wait_until_gone(tmp_path) == []
