"""Worlds that break, hang or are slow: each costs its own episode only."""

from __future__ import annotations

import threading
import time

import pytest

from atlas.environments import play as play_module
from atlas.environments.base import Environment, StepResult
from atlas.environments.play import play_episodes
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import DependencyError
from atlas.models.players import Player
from atlas.records import Message, Task, Trajectory
from tests.environments.players import ReadyPlayer, RoundPlayer
from tests.environments.push import PushConfig, PushEnvironment, make_push
from tests.environments.test_play import (
    any_player,
    either,
    openings,
    play,
    reason,
    statuses,
)


class Bad(PushEnvironment):
    """Breaks or hangs at a step of the episode with seed 3, in the first `num_bad` worlds."""

    made: list[Bad]
    num_bad = 1
    hang: threading.Event | None = None

    def __init__(self, config: PushConfig) -> None:
        super().__init__(config)
        self.is_bad = len(self.made) < self.num_bad
        self.is_closed = False
        self.seeds: list[int | None] = []
        self.made.append(self)

    def reset(self, task: Task) -> tuple[Message, ...]:
        self.seeds.append(task.seed)
        return super().reset(task)

    def step(self, response: Message) -> StepResult:
        if self.is_bad and self.num_needed == 3 and self.num_turns == 1:
            if self.hang is None:
                raise ConnectionError("the server is gone")
            self.hang.wait(30)
        return super().step(response)

    def close(self) -> None:
        self.is_closed = True


def bad_worlds(num_bad: int, hang: threading.Event | None = None) -> type[Bad]:
    return type("Bad", (Bad,), {"made": [], "num_bad": num_bad, "hang": hang})


@either
@any_player
def test_a_broken_world_is_replaced_and_its_episode_played_once_more(
    kind: type[RoundPlayer], in_process: bool
) -> None:
    bad = bad_worlds(1)
    played = play(kind(), 1, 3, 1, 2, make=lambda: bad(PushConfig()), in_process=in_process)
    assert set(statuses(played).values()) == {"success"}
    assert [len(episode.trajectory.steps) for _, episode in sorted(played)] == [3, 1, 2]
    first, second = bad.made
    assert first.seeds == [3], "a broken world is not used again"
    assert first.is_closed
    assert sorted(second.seeds) == [1, 2, 3]


@either
@any_player
def test_an_episode_whose_world_breaks_twice_is_an_error_with_the_reason(
    kind: type[RoundPlayer], in_process: bool
) -> None:
    bad = bad_worlds(9)
    played = dict(play(kind(), 2, 3, 1, make=lambda: bad(PushConfig()), in_process=in_process))
    assert reason(played["push/0"]) == "ConnectionError: the server is gone"
    assert [step.is_invalid for step in played["push/0"].trajectory.steps] == [False, None]
    assert played["push/1"].trajectory.outcome.status == "success"


@any_player
def test_a_world_that_hangs_costs_only_its_own_episode(kind: type[RoundPlayer]) -> None:
    hang = threading.Event()
    bad = bad_worlds(9, hang)
    started = time.monotonic()
    played = dict(
        play(
            kind(),
            3,
            3,
            1,
            2,
            2,
            make=lambda: bad(PushConfig()),
            limits=Limits(step_seconds=0.2),
        )
    )
    assert time.monotonic() - started < 15
    assert "did not answer in time (limits.step_seconds=0.2)" in reason(played["push/0"])
    assert [statuses([*played.items()])[f"push/{n}"] for n in (1, 2, 3)] == ["success"] * 3
    hang.set()


def test_the_others_play_on_while_a_world_hangs_where_answers_come_one_by_one() -> None:
    hang = threading.Event()
    bad = bad_worlds(9, hang)
    ended: list[str] = []
    with Worlds(lambda: bad(PushConfig()), size=2, limits=Limits(step_seconds=1.0)) as worlds:
        for name, _ in play_episodes(openings(3, 1, 2, 4, 1), worlds, ReadyPlayer()):
            ended.append(name)
        hang.set()
    assert ended[-1] == "push/0"


def test_a_round_waits_for_a_slow_world_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play_module, "ROUND_PATIENCE", 0.1)

    class SlowOnce(PushEnvironment):
        def step(self, response: Message) -> StepResult:
            if self.num_needed == 2 and self.num_turns == 0:
                time.sleep(1.0)
            return super().step(response)

    player = RoundPlayer()
    played = play(player, 2, 2, 5, make=lambda: SlowOnce(PushConfig()))
    assert [name for name, _ in played] == ["push/1", "push/0"]
    assert set(statuses(played).values()) == {"success"}
    assert player.rounds[0] == ["push/0", "push/1"]
    assert player.rounds[1] == ["push/1"]


def test_an_episode_may_be_limited_as_a_whole() -> None:
    class Slow(PushEnvironment):
        def step(self, response: Message) -> StepResult:
            time.sleep(0.08)
            return super().step(response)

    limits = Limits(step_seconds=5, episode_seconds=0.3)
    played = dict(play(RoundPlayer(), 2, 6, 1, make=lambda: Slow(PushConfig()), limits=limits))
    assert "limits.episode_seconds=0.3" in reason(played["push/0"])
    assert played["push/1"].trajectory.outcome.status == "success"


def test_64_worlds_that_wait_wait_together() -> None:
    class Slow(PushEnvironment):
        def step(self, response: Message) -> StepResult:
            time.sleep(0.05)
            return super().step(response)

    num_rounds = 4
    player = RoundPlayer()
    started = time.monotonic()
    played = play(player, 64, *[num_rounds] * 64, make=lambda: Slow(PushConfig()))
    seconds = time.monotonic() - started
    assert set(statuses(played).values()) == {"success"}
    assert len(player.rounds) == num_rounds
    # One after another: 12.8 s.
    assert seconds < 1.5


def test_answers_that_come_one_by_one_do_not_wait_for_the_slowest() -> None:
    player = ReadyPlayer(delays={"push/0": 0.6})
    with Worlds(make_push, size=4) as worlds:
        ended = [name for name, _ in play_episodes(openings(1, 2, 3, 4), worlds, player)]
    assert ended[-1] == "push/0"


def test_a_world_that_cannot_be_made_is_an_error_of_its_episode() -> None:
    failures = [ConnectionError("no server"), ConnectionError("still no server")]

    def make() -> Environment:
        if failures:
            raise failures.pop(0)
        return make_push()

    played = dict(play(RoundPlayer(), 1, 1, 1, make=make))
    assert statuses([*played.items()]) == {"push/0": "error", "push/1": "success"}
    assert reason(played["push/0"]) == "ConnectionError: still no server"


@either
def test_a_missing_package_ends_the_run(in_process: bool) -> None:
    def make() -> Environment:
        raise DependencyError("minigrid", "babyai")

    with pytest.raises(DependencyError):
        play(RoundPlayer(), 2, 1, 1, make=make, in_process=in_process)


def test_what_an_episode_records_does_not_depend_on_the_episodes_beside_it() -> None:
    def records(num_worlds: int, player: Player, in_process: bool) -> list[Trajectory]:
        played = play(player, num_worlds, 1, 4, 2, 3, 6, in_process=in_process)
        return [episode.trajectory for _, episode in sorted(played)]

    first = records(1, RoundPlayer(), True)
    assert first == records(5, RoundPlayer(), False) == records(3, ReadyPlayer(), False)
