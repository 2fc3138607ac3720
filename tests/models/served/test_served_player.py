"""A player that starts a server of its model, and ends it with itself, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
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
        evaluate("--dies-after 10")
    assert wait_until_gone(notes) == []
    episodes = evaluate(None)
    assert len(episodes) == 4
    assert all(episode.outcome.is_valid for episode in episodes)
    # The first two episodes were not played again.
    assert len(started(notes)) == 2
    spent = (tmp_path / "run" / "spent.jsonl").read_text()
    assert spent


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
    words = server_command(ServedPlayerConfig(), locate_model(str(tmp_path)), 8123)
    assert words[:3] == ["vllm", "serve", "org/base"]
    assert words[words.index("--max-lora-rank") + 1] == "64"
    assert words[words.index("--lora-modules") + 1] == f"tuned={tmp_path}"
    assert words[words.index("--host") + 1] == "127.0.0.1"


def test_a_path_with_blanks_and_braces_stays_one_argument() -> None:
    config = ServedPlayerConfig(command="serve {model} --at={port}", options="--name 'a b' {x}")
    words = server_command(config, ModelPlace("m", "/a b/{c}"), 1)
    assert words == ["serve", "/a b/{c}", "--at=1", "--name", "a b", "{x}"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"command": "vllm serve {modle} --port {port}"}, "{modle}"),
        ({"command": "vllm serve {} --port {port}"}, "not known"),
        ({"command": "vllm serve {model.real} --port {port}"}, "not known"),
        ({"command": "vllm serve {model --port {port}"}, "not known"),
        ({"command": "vllm serve {model}"}, "where the server listens"),
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

    values = {"model": "m", "player": {"name": "served", "command": "no-such-server {port}"}}
    with pytest.raises(ProgramError, match="no-such-server"):
        require_installed(check_config(EvaluateConfig, values, "test"))
