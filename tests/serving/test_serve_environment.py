"""An environment behind OpenEnv's websocket: our own client plays it, hostile ones do no harm."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest

pytest.importorskip("websockets", reason="the openenv extra is not installed")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from atlas.environments.base import ENVIRONMENT
from atlas.environments.openenv.environment import OpenEnvEnvironment
from atlas.kinds import Choice
from atlas.records import Message, ToolCall
from tests.serving.served import serving

PUSH = "tests.environments.push:PushEnvironment"
TOOLS = "tests.environments.push:ToolPushEnvironment"


@pytest.fixture(scope="module")
def push() -> Iterator[str]:
    settings = ("tasks=8", "sessions=6", "max_message_kib=64", "limits.step_seconds=5")
    with serving("--env", PUSH, *settings) as (address, _):
        yield address


def open_socket(address: str, **more: Any) -> AbstractContextManager[Any]:
    return connect(address.replace("http", "ws") + "/ws", proxy=None, **more)


def ask(socket: Any, type_: str, **data: Any) -> Any:
    return send(socket, json.dumps({"type": type_, "data": data}))


def send(socket: Any, request: str | bytes) -> Any:
    socket.send(request)
    return json.loads(socket.recv(timeout=20))


def client(address: str, **settings: Any) -> OpenEnvEnvironment:
    given = {
        "base_url": address,
        "reply": "text",
        "observation_key": "text",
        "connect_seconds": 2.0,
        **settings,
    }
    world: OpenEnvEnvironment = ENVIRONMENT.make(Choice("openenv", given))
    return world


def test_our_client_plays_our_server(push: str) -> None:
    world = client(push, outcome={"by": "key", "success_key": "success"})
    for task in world.tasks("train", 4, 0):
        [first] = world.reset(task)
        assert first.content == "You see a door."
        num_steps = 0
        result = world.step(Message(role="assistant", content="push"))
        while not result.terminated:
            num_steps += 1
            result = world.step(Message(role="assistant", content="push"))
        assert num_steps == (task.seed or 0) % 4
        assert result.success
        assert (result.reward, result.score) == (1, 1)
    world.close()


def test_an_environment_with_tools_is_played_by_tools() -> None:
    with serving("--env", TOOLS, "tasks=8") as (address, _):
        world = client(address, actions="tools")
        [tool] = world.tools
        assert tool["function"]["name"] == "push"
        world.reset(world.tasks("train", 4, 0)[3])
        call = ToolCall(id="a", name="push", arguments='{"force": 2}')
        for _ in range(4):
            result = world.step(Message(role="assistant", tool_calls=(call,)))
        assert result.success
        world.close()
        with open_socket(address) as socket:
            seen = ask(socket, "reset", seed=0)["data"]["observation"]
            assert seen["tools"][0]["function"]["name"] == "push"
            calls = [{"id": "x", "name": "push", "arguments": '{"force": 1}'}]
            data = ask(socket, "step", tool_calls=calls)["data"]
            assert data["observation"]["messages"][0]["tool_call_id"] == "x"
            assert data["done"]


def test_the_tasks_are_found_by_number_id_and_split(push: str) -> None:
    with open_socket(push) as socket:
        first = ask(socket, "reset", seed=0)["data"]
        assert first["metadata"] == {
            "task_id": "push/0",
            "split": "train",
            "group": "",
            "goal": None,
        }
        assert first["observation"]["instruction"] == "Open the door."
        assert ask(socket, "reset", seed=9)["data"]["metadata"]["task_id"] == "push/1"
        assert ask(socket, "reset", task_id="push/5")["data"]["metadata"]["task_id"] == "push/5"
        named = ask(socket, "reset", split="held_in_test", seed=2)["data"]["metadata"]
        assert named["split"] == "held_in_test"
        for wrong in (
            {"task_id": "x"},
            {"split": "no"},
            {"split": 3},
            {"seed": "x"},
            {"seed": 1.5},
        ):
            assert ask(socket, "reset", **wrong)["data"]["code"] == "VALIDATION_ERROR"


def test_a_client_that_names_no_task_gets_one_after_the_other(push: str) -> None:
    with open_socket(push) as socket:
        ids = [ask(socket, "reset")["data"]["metadata"]["task_id"] for _ in range(10)]
    assert ids == [f"push/{number % 8}" for number in range(10)]


def test_truncated_and_invalid_are_in_the_metadata_and_state_counts_steps(push: str) -> None:
    with open_socket(push) as socket:
        ask(socket, "reset", seed=3)
        for _ in range(6):
            data = ask(socket, "step", text="sing")["data"]
        assert data["done"]
        told = data["metadata"]
        assert (told["truncated"], told["terminated"], told["is_invalid"]) == (True, False, True)
        state = ask(socket, "state")["data"]
        assert state == {"episode_id": "push/3", "step_count": 6, "done": True}
        over = ask(socket, "step", text="push")["data"]
        assert over["code"] == "VALIDATION_ERROR"
        assert "reset starts one" in over["message"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("{", "INVALID_JSON"),
        ("", "INVALID_JSON"),
        (b"\xff\xfe", "INVALID_JSON"),
        ("[" * 60_000, "INVALID_JSON"),
        ("1" * 5000, "INVALID_JSON"),
        ("[]", "VALIDATION_ERROR"),
        ("null", "VALIDATION_ERROR"),
        ('{"type": "reset", "data": []}', "VALIDATION_ERROR"),
        ('{"type": "sing"}', "UNKNOWN_TYPE"),
        ('{"type": ["reset"]}', "UNKNOWN_TYPE"),
        ("{}", "UNKNOWN_TYPE"),
        ('{"type": "step", "data": {}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"text": 3}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"text": "\\ud800"}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"text": "x", "more": 1}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"tool_calls": 3}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"tool_calls": [3]}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"tool_calls": {"name": "x"}}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"type": "call_tool"}}', "VALIDATION_ERROR"),
        ('{"type": "step", "data": {"type": "call_tool", "tool_name": 3}}', "VALIDATION_ERROR"),
        (
            '{"type": "step", "data": {"type": "call_tool", "tool_name": "\\udfff"}}',
            "VALIDATION_ERROR",
        ),
    ],
)
def test_a_bad_request_is_answered_and_the_session_goes_on(
    push: str, request_: str | bytes, code: str
) -> None:
    with open_socket(push) as socket:
        ask(socket, "reset", seed=1)
        assert send(socket, request_)["data"]["code"] == code
        assert ask(socket, "step", text="push")["type"] == "observation"


def test_a_world_that_breaks_is_replaced(push: str) -> None:
    with open_socket(push) as socket:
        ask(socket, "reset", seed=1)
        broken = ask(socket, "step", text="crash")["data"]
        assert broken["code"] == "EXECUTION_ERROR"
        assert "the floor gave way" in broken["message"]
        assert ask(socket, "step", text="push")["data"]["code"] == "VALIDATION_ERROR"
        ask(socket, "reset", seed=0)
        assert ask(socket, "step", text="push")["data"]["done"]


def test_an_oversized_request_ends_only_its_own_session(push: str) -> None:
    with open_socket(push) as other:
        ask(other, "reset", seed=1)
        with open_socket(push) as socket, pytest.raises(ConnectionClosed) as closed:
            ask(socket, "step", text="x" * (65 << 10))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        assert ask(other, "step", text="push")["type"] == "observation"


def test_a_full_server_says_so_and_has_room_again_after_a_client_left(push: str) -> None:
    sockets = [open_socket(push) for _ in range(6)]
    opened = [socket.__enter__() for socket in sockets]
    try:
        with open_socket(push) as late:
            full = json.loads(late.recv(timeout=10))["data"]
        assert (full["code"], full["max_sessions"]) == ("CAPACITY_REACHED", 6)
        # A client may also leave without a word.
        opened[0].socket.close()
        world = client(push)
        assert world.reset(world.tasks("train", 1, 0)[0])
        world.close()
    finally:
        for socket in opened[1:]:
            socket.close()


def test_browsers_and_other_paths_are_refused_and_health_is_told(push: str) -> None:
    with pytest.raises(InvalidStatus, match="403"), open_socket(push, origin="http://evil.example"):
        pass
    with urllib.request.urlopen(f"{push}/health", timeout=10) as answer:
        assert json.loads(answer.read()) == {"status": "healthy"}
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(f"{push}/etc/passwd", timeout=10)
    refused.value.close()


def test_sessions_play_at_the_same_time_without_mixing(push: str) -> None:
    worlds = [client(push) for _ in range(5)]
    tasks = worlds[0].tasks("train", 5, 0)
    try:
        for world, task in zip(worlds, tasks, strict=True):
            world.reset(task)
        ends: dict[int, int] = {}
        for turn in range(4):
            for number, world in enumerate(worlds):
                if number not in ends:
                    result = world.step(Message(role="assistant", content="push"))
                    if result.terminated:
                        ends[number] = turn
        assert ends == {0: 0, 1: 1, 2: 2, 3: 3, 4: 0}
    finally:
        for world in worlds:
            world.close()


def test_an_idle_session_is_closed_and_ctrl_c_stops_the_server() -> None:
    with (
        serving("--env", PUSH, "tasks=2", "idle_seconds=0.2") as (address, _),
        open_socket(address) as socket,
    ):
        told = json.loads(socket.recv(timeout=10))["data"]
        assert told["code"] == "SESSION_ERROR"
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
    with serving("--env", PUSH, "tasks=2") as (address, process), open_socket(address) as socket:
        ask(socket, "reset")
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert process.wait(10) == 0
        assert time.monotonic() - started < 8
        assert process.stdout is not None
        assert "stopped:" in process.stdout.read()


def test_babyai_is_served_and_its_expert_wins_through_the_socket() -> None:
    pytest.importorskip("minigrid", reason="the babyai extra is not installed")
    with serving("--env", "babyai", "tasks=4", "split=held_in_test") as (address, _):
        local = ENVIRONMENT.make(Choice("babyai"))
        rule = {"by": "key", "success_key": "success", "score_key": "score"}
        remote = client(address, outcome=rule)
        for task, own in zip(
            remote.tasks("train", 4, 0), local.tasks("held_in_test", 4, 0), strict=True
        ):
            assert local.reset(own)[0].content == remote.reset(task)[0].content
            expert, over = local.expert(0), False
            while not over:
                said = expert.respond().response
                mine, theirs = local.step(said), remote.step(said)
                assert mine.observation[0].content == theirs.observation[0].content
                assert (mine.success, mine.score) == (theirs.success, theirs.score)
                assert mine.terminated == theirs.terminated
                over = mine.terminated
            assert theirs.success
        remote.close()


def test_a_session_that_waited_too_long_is_opened_again() -> None:
    with serving("--env", PUSH, "tasks=8", "idle_seconds=0.3") as (address, _):
        world = client(address)
        [task] = world.tasks("train", 1, 0)
        for _ in range(2):
            assert world.reset(task)[0].content == "You see a door."
            time.sleep(0.8)
        world.close()


def test_a_split_that_takes_long_to_list_delays_no_other_session() -> None:
    slow = "tests.serving.closing:SlowSplitEnvironment"
    with (
        serving("--env", slow, "tasks=8") as (address, _),
        open_socket(address) as other,
        open_socket(address) as socket,
    ):
        other.send(json.dumps({"type": "reset", "data": {"split": "held_in_test"}}))
        time.sleep(0.3)
        started = time.monotonic()
        assert ask(socket, "reset", seed=1)["type"] == "observation"
        assert time.monotonic() - started < 2
        assert json.loads(other.recv(timeout=20))["type"] == "observation"


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_stopped_closes_its_worlds(way: signal.Signals, tmp_path: Path) -> None:
    world = "tests.serving.closing:FileEnvironment"
    with serving("--env", world, "tasks=8", f"word={tmp_path}") as (address, process):
        with open_socket(address) as socket:
            ask(socket, "reset")
            assert list(tmp_path.iterdir())
            process.send_signal(way)
            process.wait(20)
        assert process.returncode == 0
        assert not list(tmp_path.iterdir())


def test_clients_that_no_longer_answer_do_not_hold_up_the_end() -> None:
    upgrade = (
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with serving("--env", PUSH, "tasks=8") as (address, process), ExitStack() as open_sockets:
        host, port = address.removeprefix("http://").split(":")
        for _ in range(10):
            raw = open_sockets.enter_context(create_connection((host, int(port)), timeout=20))
            raw.sendall(upgrade.encode())
            assert raw.recv(12) == b"HTTP/1.1 101"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(30)
        # One after the other, they would take 20 s.
        assert time.monotonic() - started < 12
