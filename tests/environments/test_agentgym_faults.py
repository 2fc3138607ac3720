"""Servers of AgentGym that answer nonsense: it costs the episode, never the run."""

from __future__ import annotations

import copy
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atlas.environments.agentgym import client as client_module
from atlas.environments.agentgym.servers import SERVERS
from atlas.errors import EpisodeError
from atlas.records import Message
from tests.environments.agentgym_recordings import RECORDINGS, said
from tests.environments.agentgym_servers import (
    CraftServer,
    Exchange,
    Hangup,
    RecordedServer,
    Reply,
    serving,
)
from tests.environments.test_agentgym import make, response_for, task_of

pytest.importorskip("urllib3", reason="needs the extra agentgym")


def act(action: str) -> Message:
    return response_for("textcraft", action)


class HostileServer(CraftServer):
    """Crafts, until `fault` says what to answer to a request instead."""

    def __init__(self, fault: Callable[[str, Any], Reply | None] = lambda path, body: None) -> None:
        super().__init__()
        self.fault = fault
        self.requests = Counter[str]()

    def __call__(self, method: str, path: str, body: Any) -> Reply:
        route = path.partition("?")[0]
        self.requests[route] += 1
        faulty = self.fault(route, body)
        return super().__call__(method, path, body) if faulty is None else faulty


def hang_up() -> Reply:
    raise Hangup


def sleep_long() -> Reply:
    time.sleep(1.5)
    return Reply(said("late"))


GARBAGE: dict[str, Callable[[], Reply]] = {
    "the connection ends": hang_up,
    "nothing for too long": sleep_long,
    "no body": lambda: Reply(raw=b""),
    "a page": lambda: Reply(raw=b"<html>Bad gateway</html>"),
    "half of an object": lambda: Reply(raw=b'{"observation": "x", "rew'),
    "bytes": lambda: Reply(raw=bytes(range(256))),
    "half of a surrogate pair": lambda: Reply(raw=b'{"observation": "\\ud800"}'),
    "deep nesting": lambda: Reply(raw=b"[" * 100_000),
    "a number": lambda: Reply(7),
    "nothing": lambda: Reply(None),
    "a list": lambda: Reply(["x", None]),
    "an empty object": lambda: Reply({}),
    "no reward": lambda: Reply({"observation": "x", "done": False}),
    "a reward that is a text": lambda: Reply(said("x", "1")),  # type: ignore[arg-type]
    "a reward that is true": lambda: Reply(said("x", True)),
    "a reward that is not a number": lambda: Reply(said("x", float("nan"))),
    "an endless reward": lambda: Reply(raw=b'{"observation": "x", "reward": 1e999, "done": false}'),
    "done as a text": lambda: Reply(said("x", 0, "false")),  # type: ignore[arg-type]
    "an observation that is a list": lambda: Reply(said(["x"])),  # type: ignore[arg-type]
    "an observation that is missing": lambda: Reply({"reward": 0, "done": False}),
    "HTTP 500": lambda: Reply(raw=b"Internal Server Error", status=500),
    "HTTP 502": lambda: Reply(raw=b"<html>", status=502),
    "HTTP 404": lambda: Reply({"detail": "Not Found"}, 404),
    "another address": lambda: Reply(None, 302),
    "an error in HTTP 200": lambda: Reply({"error": "Out of memory"}),
    "an error without a text": lambda: Reply({"error": ""}),
    "a lost world": lambda: Reply({"error": "The id 0 is not valid."}),
    "a lost process": lambda: Reply({"error": "Answer from Java side is empty"}),
}
# The reply to /reset needs none of these fields.
OF_STEP = {"no reward", "a reward that is a text", "a reward that is true", "done as a text"}
# Where the world still answers, the action was at fault.
OF_ACTION = {"HTTP 500", "HTTP 502", "HTTP 404", "another address", "an error without a text"}
OF_ACTION |= {"an error in HTTP 200", "a lost process"}


@pytest.mark.parametrize(
    ("route", "garbage"),
    [
        (route, garbage)
        for route in ("/create", "/reset", "/step")
        for garbage in GARBAGE
        if not (route == "/reset" and garbage in OF_STEP)
    ],
)
def test_a_broken_reply_is_an_error_of_the_episode(route: str, garbage: str) -> None:
    server = HostileServer()
    task = task_of("textcraft", 3)
    with serving(server) as url:
        environment = make("textcraft", url, timeout_seconds=0.3)
        if route == "/step":
            environment.reset(task)
        server.fault = lambda path, body: (
            GARBAGE[garbage]() if path in (route, "/observation") else None
        )
        with pytest.raises(EpisodeError) as raised:
            environment.step(act("inventory")) if route == "/step" else environment.reset(task)
        assert len(str(raised.value)) < 500
        assert url in str(raised.value)
        # A later episode is not affected.
        server.fault = lambda path, body: None
        environment.reset(task)
        assert not environment.step(act("get 1 stick")).is_invalid
        environment.close()


@pytest.mark.parametrize("garbage", sorted(OF_ACTION))
def test_an_action_that_breaks_the_server_is_answered_if_the_world_lives(garbage: str) -> None:
    server = HostileServer()
    with serving(server) as url:
        environment = make("textcraft", url)
        environment.reset(task_of("textcraft", 3))
        server.fault = lambda path, body: GARBAGE[garbage]() if path == "/step" else None
        result = environment.step(act("get"))
        server.fault = lambda path, body: None
        assert result.is_invalid
        assert not any((result.terminated, result.truncated, result.success))
        assert result.observation[0].content.startswith("The action could not be carried out: ")
        environment.step(act("get 1 stick"))
        assert environment.step(act("craft 1 item 3 using 1 stick")).success
        environment.close()


def test_no_words_of_the_agent_make_its_world_a_broken_one() -> None:
    words = "Action: ConnectionError( with Action Input: {}"
    seen = "Observation: ERROR | Invalid action: ConnectionError(.\nGive me one action."
    recorded = [
        *RECORDINGS["weather"][:2],
        Exchange("POST", "/step", {"env_idx": 4, "action": words}, 200, said(seen)),
    ]
    with serving(RecordedServer(recorded)) as url:
        environment = make("weather", url)
        environment.reset(task_of("weather", 4))
        assert environment.step(response_for("weather", words)).is_invalid
        environment.close()
    server = HostileServer()
    with serving(server) as url:
        environment = make("textcraft", url)
        environment.reset(task_of("textcraft", 3))
        echo = {"error": "The id 0 is not valid. Connection refused"}
        server.fault = lambda path, body: Reply(echo) if path == "/step" else None
        assert environment.step(act("The id 0 is not valid")).is_invalid
        environment.close()


def test_words_that_are_not_utf_8_are_answered() -> None:
    with serving(CraftServer()) as url:
        environment = make("textcraft", url)
        environment.reset(task_of("textcraft", 3))
        assert environment.step(act("get \ud800")).is_invalid
        environment.close()
    recorded = [*RECORDINGS["weather"][:2]]
    recorded.append(Exchange("POST", "/step", {"env_idx": 4, "action": "?"}, 200, said("x")))
    with serving(RecordedServer(recorded)) as url:
        environment = make("weather", url)
        environment.reset(task_of("weather", 4))
        assert environment.step(response_for("weather", "\ud800")).action == "?"
        environment.close()


def test_a_huge_reply_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_REPLY_BYTES", 100_000)
    server = HostileServer()
    with serving(server) as url:
        environment = make("textcraft", url)
        environment.reset(task_of("textcraft", 3))
        server.fault = lambda path, body: Reply(said("x" * 5_000_000)) if path == "/step" else None
        with pytest.raises(EpisodeError, match="longer than 100,000 bytes"):
            environment.step(act("inventory"))
        environment.close()


def test_a_reply_that_trickles_is_given_up() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(100):
                time.sleep(0.05)
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=trickle)
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    environment = make("textcraft", address, timeout_seconds=0.4)
    started = time.monotonic()
    with pytest.raises(EpisodeError, match=r"took more than 0\.4 s"):
        environment.reset(task_of("textcraft", 3))
    assert time.monotonic() - started < 2
    environment.close()
    thread.join()


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a reply, the reply itself first."""
    yield ()
    entries = value.items() if isinstance(value, dict) else ()
    entries = enumerate(value) if isinstance(value, list) else entries
    for key, inner in entries:
        yield from ((key, *rest) for rest in places(inner))


def replaced(value: Any, place: tuple[Any, ...], by: Any) -> Any:
    if not place:
        return by
    changed = copy.copy(value)
    changed[place[0]] = replaced(value[place[0]], place[1:], by)
    return changed


@pytest.mark.parametrize("server", SERVERS)
def test_no_value_in_a_reply_raises_anything_but_an_error_of_the_episode(server: str) -> None:
    row, recorded = SERVERS[server], RECORDINGS[server]
    number = next(one.body[row.item] for one in recorded if one.path == f"{row.path}/reset")
    changed: list[Exchange] = []
    current: list[RecordedServer] = []
    for index, exchange in enumerate(recorded):
        for place in places(exchange.reply):
            for by in (None, [], {}, "x", -3, True, 1.5e300, ["x"], {"error": "x"}):
                reply = replaced(exchange.reply, place, by)
                one = Exchange(exchange.method, exchange.path, exchange.body, 200, reply)
                changed.append(one)
                current.append(RecordedServer([*recorded[:index], one, *recorded[index + 1 :]]))
    state = {"index": 0}
    with serving(lambda method, path, body: current[state["index"]](method, path, body)) as url:
        for index in range(len(changed)):
            state["index"] = index
            environment = make(server, url)
            try:
                environment.reset(task_of(server, number))
                for exchange in recorded:
                    if exchange.path == f"{row.path}/step":
                        result = environment.step(response_for(server, exchange.body["action"]))
                        assert 0 <= result.score <= 1
                        if result.terminated or result.truncated:
                            break
            except EpisodeError:
                pass
            finally:
                environment.close()
