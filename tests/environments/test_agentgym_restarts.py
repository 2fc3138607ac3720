"""Servers that restart, die, are busy or late: no two episodes are mixed, and the run goes on."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from atlas.environments.agentgym.environment import AgentGymEnvironment
from atlas.environments.episode import Episode
from atlas.environments.experts import stream
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import ConfigError, EpisodeError
from atlas.kinds import Choice
from atlas.records import Source, Task
from tests.environments.agentgym_recordings import RECORDINGS
from tests.environments.agentgym_servers import (
    CraftServer,
    Hangup,
    RecordedServer,
    Reply,
    serving,
)
from tests.environments.players import RoundPlayer
from tests.environments.test_agentgym import make, response_for, task_of
from tests.environments.test_agentgym_faults import HostileServer, act, hang_up

pytest.importorskip("urllib3", reason="needs the extra agentgym")


def test_an_id_that_a_restarted_server_does_not_know_is_created_again() -> None:
    server = HostileServer()
    with serving(server) as url:
        environment = make("textcraft", url)
        environment.reset(task_of("textcraft", 3))
        environment.step(act("get 1 stick"))
        environment.reset(task_of("textcraft", 4))
        assert server.requests["/create"] == 1, "an id is used again"
        server.restart()
        with pytest.raises(EpisodeError, match="The id 0 is not valid"):
            environment.step(act("inventory"))
        environment.reset(task_of("textcraft", 5))
        assert server.requests["/create"] == 2
        environment.close()


def test_two_worlds_never_share_an_id_after_a_restart() -> None:
    server = HostileServer()
    with serving(server) as url:
        early, late = make("textcraft", url), make("textcraft", url)
        early.reset(task_of("textcraft", 3))
        server.restart()
        # The server gives the id of `early` away.
        late.reset(task_of("textcraft", 4))
        with pytest.raises(EpisodeError, match="the server was restarted, and the world is lost"):
            early.step(act("get 1 stick"))
        early.reset(task_of("textcraft", 3))
        for environment, number in ((early, 3), (late, 4)):
            environment.step(act("get 1 stick"))
            assert environment.step(act(f"craft 1 item {number} using 1 stick")).success
        early.close()
        late.close()


def test_worlds_of_maze_and_wordle_with_the_same_id_are_not_mixed_up() -> None:
    both = RecordedServer([*RECORDINGS["maze"], *RECORDINGS["wordle"]])
    with serving(both) as url:
        maze, wordle = make("maze", url), make("wordle", url)
        maze.reset(task_of("maze", 18))
        wordle.reset(task_of("wordle", 0))
        assert maze.step(response_for("maze", "move down")).success
        assert wordle.step(response_for("wordle", "t r o v e")).success
        maze.close()
        wordle.close()


def test_a_server_that_gives_one_id_to_all_costs_the_episode() -> None:
    server = HostileServer()
    asked = threading.Event()

    def fault(path: str, body: Any) -> Reply | None:
        if path == "/create":
            server.worlds[0] = {"text": "", "item": 0, "has": False}
            return Reply({"id": 0})
        if path == "/step":
            asked.set()
            time.sleep(1.0)
        return None

    server.fault = fault
    with serving(server) as url:
        first, second = make("textcraft", url), make("textcraft", url)
        first.reset(task_of("textcraft", 3))

        def ask() -> None:
            with pytest.raises(EpisodeError):
                first.step(act("inventory"))

        thread = threading.Thread(target=ask)
        thread.start()
        asked.wait(5)
        with pytest.raises(EpisodeError, match="gave the id 0 to two episodes"):
            second.reset(task_of("textcraft", 4))
        thread.join()
        first.close()
        second.close()


def test_a_server_with_few_worlds_says_how_many_may_be_open() -> None:
    with serving(RecordedServer(RECORDINGS["sqlgym"])) as url:
        first, second = make("sqlgym", url), make("sqlgym", url)
        first.reset(task_of("sqlgym", 9428))
        with pytest.raises(ConfigError, match="Set worlds=8 or less"):
            second.reset(task_of("sqlgym", 9428))
        first.close()
        second.close()


def test_a_server_with_few_worlds_gives_the_one_that_is_free() -> None:
    ids = itertools.cycle([7, 8])

    def answer(method: str, path: str, body: Any) -> Reply:
        return Reply(next(ids)) if path == "/create" else Reply([f"Which? {body['item_id']}", None])

    with serving(answer) as url:
        first, second = make("sqlgym", url), make("sqlgym", url)
        first.reset(task_of("sqlgym", 1))
        second.reset(task_of("sqlgym", 2))
        first.close()
        third = make("sqlgym", url)
        third.reset(task_of("sqlgym", 3))
        with pytest.raises(ConfigError, match="all of them are in use"):
            first.reset(task_of("sqlgym", 4))
        for environment in (first, second, third):
            environment.close()


def test_a_server_that_is_busy_is_asked_again_and_a_step_is_never_sent_twice() -> None:
    busy = iter([Reply(None, 503), Reply(raw=b"later", status=503)])
    server = HostileServer(lambda path, body: next(busy, None) if path == "/step" else None)
    with serving(server) as url:
        environment = make("textcraft", url, restart_seconds=5)
        environment.reset(task_of("textcraft", 3))
        assert environment.step(act("get 1 stick")).observation[0].content == "Got 1 stick"
        assert server.num_steps == 1
        server.requests.clear()
        server.fault = lambda path, body: hang_up() if path == "/step" else None
        with pytest.raises(EpisodeError):
            environment.step(act("get 1 stick"))
        assert server.requests["/step"] == 1
        environment.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_server_that_starts_late_is_waited_for() -> None:
    port = free_port()
    environment = make("textcraft", f"http://127.0.0.1:{port}", restart_seconds=10)
    with ExitStack() as stack:
        starter = threading.Timer(0.3, lambda: stack.enter_context(serving(CraftServer(), port)))
        starter.start()
        assert "item 3" in environment.reset(task_of("textcraft", 3))[0].content
        starter.join()
        environment.close()


def test_an_address_without_a_server_or_with_another_one_is_a_mistake_of_the_settings() -> None:
    environment = make("textcraft", f"http://127.0.0.1:{free_port()}", restart_seconds=30)
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"does not answer.*docs/environments/agentgym.md"):
        environment.tasks("train", 1, 0)
    assert time.monotonic() - started < 5
    with serving(CraftServer()) as url:
        environment = make("sciworld", url)
        with pytest.raises(ConfigError, match=r"says 'This is environment TextCraft\.'"):
            environment.tasks("train", 1, 0)


# ---- many episodes at a time ----


def choice_of(url: str, **settings: Any) -> Choice:
    return Choice("agentgym", {"server": "textcraft", "url": url, "restart_seconds": 0, **settings})


class CraftPlayer(RoundPlayer):
    """Solves the crafts: two turns of preparation, then the item of the conversation's name."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def next_answers(self, timeout: float | None = None) -> dict[str, Any]:
        self.times.append(time.monotonic())
        self.says = {
            name: ("inventory", "get 1 stick", f"craft 1 item {name} using 1 stick")[
                min(len(self.heard[name]), 3) - 1
            ]
            for name in self._asked
        }
        self.says = {name: act(action).content for name, action in self.says.items()}
        return super().next_answers(timeout)

    def close(self, name: str) -> None:
        super().close(name)
        # An episode that is played again begins a new conversation.
        self.heard.pop(name, None)


def play(
    url: str, num_episodes: int, num_worlds: int, player: CraftPlayer, **settings: Any
) -> dict[str, Episode]:
    openings = [
        Opening(str(number), task_of("textcraft", number), Source(name="x"))
        for number in range(num_episodes)
    ]
    limits = Limits(step_seconds=settings.pop("step_seconds", 30))
    with Worlds.of(choice_of(url, **settings), num_worlds, limits) as worlds:
        return dict(play_episodes(openings, worlds, player))


def test_a_round_of_64_worlds_waits_about_as_long_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    server = CraftServer()

    def slow(method: str, path: str, body: Any) -> Reply:
        time.sleep(0.05)
        return server(method, path, body)

    player = CraftPlayer()
    with serving(slow) as url:
        episodes = play(url, 64, 64, player)
    assert all(episode.trajectory.outcome.status == "success" for episode in episodes.values())
    assert [len(asked) for asked in player.rounds] == [64, 64, 64]
    rounds = [after - before for before, after in zip(player.times, player.times[1:], strict=False)]
    # One after the other, a round would take 3.2 s.
    assert all(0.05 <= seconds < 1.6 for seconds in rounds), rounds
    assert min(rounds) < 0.8, rounds


def test_a_world_that_hangs_costs_only_its_own_episode() -> None:
    hanging: set[int] = set()
    lock = threading.Lock()
    server = CraftServer()

    def answer(method: str, path: str, body: Any) -> Reply:
        if path == "/reset" and body["data_idx"] == 5:
            with lock:
                hanging.add(body["id"])
        if path == "/step" and body["id"] in hanging:
            time.sleep(1.5)
        return server(method, path, body)

    with serving(answer) as url:
        started = time.monotonic()
        episodes = play(url, 16, 8, CraftPlayer(), timeout_seconds=0.4)
        seconds = time.monotonic() - started
    broken = {name for name, episode in episodes.items() if episode.is_broken}
    assert broken == {"5"}
    outcome = episodes["5"].trajectory.outcome
    assert outcome.status == "error"
    assert outcome.score is None
    assert "/step: ReadTimeoutError" in (outcome.reason or "")
    assert seconds < 10


def test_a_server_that_dies_once_costs_the_episodes_in_flight_one_attempt() -> None:
    server = HostileServer()
    deaths = threading.Event()

    def die(path: str, body: Any) -> Reply | None:
        if server.num_steps > 20 and path == "/step" and not deaths.is_set():
            deaths.set()
            server.restart()
            raise Hangup
        return None

    server.fault = die
    with serving(server) as url:
        episodes = play(url, 32, 8, CraftPlayer(), restart_seconds=2)
    assert deaths.is_set()
    statuses = Counter(episode.trajectory.outcome.status for episode in episodes.values())
    assert statuses == {"success": 32}


def test_a_server_that_stays_dead_is_recorded_and_the_run_ends() -> None:
    server = HostileServer()
    server.fault = lambda path, body: hang_up() if server.num_steps > 12 else None
    with serving(server) as url:
        episodes = play(url, 12, 4, CraftPlayer())
    statuses = Counter(episode.trajectory.outcome.status for episode in episodes.values())
    assert statuses["success"] >= 1
    assert statuses["success"] + statuses["error"] == 12
    reasons = {episode.trajectory.outcome.reason for episode in episodes.values()} - {None}
    assert all("agentgym: " in str(reason) for reason in reasons)


def test_a_task_with_a_goal_is_found_at_a_server_that_numbers_its_goals_otherwise() -> None:
    server = CraftServer(shift=100)
    task = Task(id="textcraft_3", environment="agentgym_textcraft", goal="item 3")
    with serving(server) as url:
        environments = [make("textcraft", url) for _ in range(2)]
        for environment in environments:
            assert environment.reset(task)[0].content.endswith("Goal: craft item 3.")
        # Without a goal, the number is what the server makes of it.
        [message] = environments[0].reset(task_of("textcraft", 3))
        assert message.content.endswith("Goal: craft item 103.")
        # Another order after a restart is noticed.
        server.shift = 7
        assert environments[0].reset(task)[0].content.endswith("Goal: craft item 3.")
        unknown = task.model_copy(update={"goal": "moon"})
        with pytest.raises(EpisodeError, match="has no task 'moon'"):
            environments[0].reset(unknown)
        num_resets = server.num_resets
        with pytest.raises(EpisodeError, match="has no task 'moon'"):
            environments[1].reset(unknown)
        assert server.num_resets - num_resets < 5, "what is known of the server is used again"
        for environment in environments:
            environment.close()


def test_settings_are_checked() -> None:
    for settings in (
        {"server": "textcarft", "url": "http://127.0.0.1:1"},
        {"server": "textcraft", "url": "127.0.0.1:1"},
        {"server": "textcraft", "url": "ftp://x"},
        {"server": "textcraft", "url": "http://me:secret@x"},
        {"server": "textcraft", "url": "http://x?key=1"},
    ):
        with pytest.raises(ValueError):
            AgentGymEnvironment.Config(**settings)


def test_restarts_never_mix_two_episodes() -> None:
    """A request with an old id may reach the restarted server, where the id is another world's."""
    server = HostileServer()
    pauses = stream("pauses")
    lock = threading.Lock()
    count = Counter[str]()

    def restart_sometimes(path: str, body: Any) -> Reply | None:
        with lock:
            count["requests"] += 1
            pause = pauses.random() * 0.01
            if count["requests"] % 60 == 0 and count["restarts"] < 8:
                count["restarts"] += 1
                server.restart()
            is_dropped = pauses.random() < 0.05
        time.sleep(pause)
        if is_dropped:
            raise Hangup
        return None

    server.fault = restart_sometimes
    with serving(server) as url:
        episodes = play(url, 120, 12, CraftPlayer(), restart_seconds=2, max_steps=6)
    assert count["restarts"] == 8
    for name, episode in episodes.items():
        status = episode.trajectory.outcome.status
        assert status in ("success", "error"), "an action met the world of another episode"
        texts = [step.observation[0].content for step in episode.steps]
        if texts:
            assert texts[0].endswith(f"Goal: craft item {name}.")
    statuses = Counter(episode.trajectory.outcome.status for episode in episodes.values())
    assert statuses["success"] > 60
