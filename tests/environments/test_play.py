"""The one loop: each opening is played once, and a bad world costs only its own episode."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from atlas.environments import play as play_module
from atlas.environments.base import Environment, StepResult
from atlas.environments.episode import Episode
from atlas.environments.episode_limits import EpisodeLimits
from atlas.environments.expert_player import ExpertPlayer
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import DependencyError, EpisodeError
from atlas.kinds import Choice
from atlas.models.players import Player, PlayerAnswer
from atlas.records import Message, Source, Task, Trajectory, Usage
from tests.environments.players import NOTHING, ReadyPlayer, RoundPlayer
from tests.environments.push import PushConfig, PushEnvironment, assistant, make_push

SOURCE = Source(name="test")


def openings(*seeds: int | None) -> list[Opening]:
    tasks = [
        Task(id=f"push/{number}", environment="push", seed=seed)
        for number, seed in enumerate(seeds)
    ]
    return [Opening(task.id, task, SOURCE) for task in tasks]


def play(
    player: Player | None,
    num_worlds: int,
    *seeds: int | None,
    make: Callable[[], Environment] = make_push,
    in_process: bool = False,
    limits: Limits | None = None,
) -> list[tuple[str, Episode]]:
    with Worlds(make, size=num_worlds, in_process=in_process, limits=limits) as worlds:
        return list(play_episodes(openings(*seeds), worlds, player))


def statuses(played: list[tuple[str, Episode]]) -> dict[str, str]:
    return {name: episode.trajectory.outcome.status for name, episode in played}


def reason(episode: Episode) -> str:
    return str(episode.trajectory.outcome.reason)


either = pytest.mark.parametrize("in_process", [True, False], ids=["in process", "threads"])
any_player = pytest.mark.parametrize("kind", [RoundPlayer, ReadyPlayer])


@either
@any_player
def test_every_opening_is_played_once_and_its_place_goes_to_the_next(
    kind: type[RoundPlayer], in_process: bool
) -> None:
    player = kind()
    played = play(player, 2, 1, 3, 1, 2, in_process=in_process)
    assert statuses(played) == {f"push/{number}": "success" for number in range(4)}
    assert len(played) == 4
    assert max(map(len, player.rounds)) <= 2
    assert sorted(player.closed) == sorted(name for name, _ in played)


@pytest.mark.parametrize(("in_process", "patience"), [(True, 2.0), (True, 0.0), (False, 2.0)])
def test_a_player_in_rounds_meets_the_same_conversations_in_the_same_order(
    in_process: bool, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play_module, "ROUND_PATIENCE", patience)
    player = RoundPlayer()
    played = play(player, 2, 1, 3, 1, 2, in_process=in_process)
    assert [name for name, _ in played] == ["push/0", "push/2", "push/1", "push/3"]
    assert player.rounds == [
        ["push/0", "push/1"],
        ["push/1", "push/2"],
        ["push/1", "push/3"],
        ["push/3"],
    ]


@pytest.mark.parametrize("in_process", [True, False])
def test_parts_of_a_round_are_followed_at_once_only_where_no_world_waits(in_process: bool) -> None:
    class Partial(RoundPlayer):
        """Answers one conversation at a time, and keeps what it was asked between two answers."""

        def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
            self.rounds.append(list(self._asked))
            name = self._asked.pop(0)
            return {name: self.answer(name)}

    player = Partial()
    played = play(player, 2, 2, 2, in_process=in_process)
    assert set(statuses(played).values()) == {"success"}
    together, alone = ["push/0", "push/1"], ["push/1"]
    joined = [together, ["push/1", "push/0"], together, alone]
    assert player.rounds == (joined if in_process else [together, alone] * 2)


@any_player
def test_a_player_hears_the_whole_opening_first_and_then_what_is_new(
    kind: type[RoundPlayer],
) -> None:
    player = kind()
    [(name, episode)] = play(player, 3, 2)
    first, second = player.heard[name]
    assert [message.content for message in first] == ["Open the door.", "You see a door."]
    assert [message.content for message in second] == ["You pushed 1 times."]
    assert episode.trajectory.messages[:2] == first


@either
def test_an_episode_that_cannot_start_is_an_error_and_costs_no_other_its_place(
    in_process: bool,
) -> None:
    player = RoundPlayer()
    played = dict(play(player, 1, None, 1, in_process=in_process))
    assert statuses([*played.items()]) == {"push/0": "error", "push/1": "success"}
    assert "push/0" not in player.heard


@pytest.mark.parametrize(
    ("finish", "status"), [("no_room", "truncated"), ("refused", "error"), ("broken", "error")]
)
@any_player
def test_an_answer_without_a_message_ends_the_episode_with_the_reason(
    kind: type[RoundPlayer], finish: str, status: str
) -> None:
    answer = PlayerAnswer(NOTHING, finish, "so it was")  # type: ignore[arg-type]
    played = dict(play(kind(says={"push/0": answer}), 1, 2, 1))
    outcome = played["push/0"].trajectory.outcome
    assert (outcome.status, outcome.reason) == (status, "so it was")
    assert played["push/0"].trajectory.steps == ()
    assert played["push/1"].trajectory.outcome.status == "success"


def test_nothing_to_play_asks_nobody_and_makes_no_world() -> None:
    player = RoundPlayer()
    made: list[int] = []
    assert play(player, 2, make=lambda: made.append(1) or make_push()) == []  # type: ignore[func-returns-value]
    assert player.rounds == made == []


def test_worlds_are_made_as_needed_and_used_again() -> None:
    made: list[Closing] = []

    def make() -> Environment:
        made.append(Closing(PushConfig()))
        return made[-1]

    play(RoundPlayer(), 2, *[1] * 6, make=make)
    assert len(made) == 2
    assert all(world.is_closed for world in made)
    made.clear()
    play(RoundPlayer(), 64, 1, 1, 1, make=make)
    assert len(made) == 3


class Closing(PushEnvironment):
    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_without_a_player_episodes_are_only_started_and_replayed() -> None:
    task = Task(id="push/0", environment="push", seed=3)
    opening = Opening("push/0", task, SOURCE, responses=(assistant("push"),) * 2)
    with Worlds(make_push, size=1) as worlds:
        [(_, episode)] = play_episodes([opening], worlds, None)
    assert (episode.over, len(episode.trajectory.steps)) == (False, 2)


def test_a_player_continues_after_what_was_replayed() -> None:
    task = Task(id="push/0", environment="push", seed=3)
    prompt = (Message(role="system", content="As recorded."),)
    opening = Opening("push/0", task, SOURCE, prompt, (assistant("push"),) * 2)
    player = RoundPlayer()
    with Worlds(make_push, size=1) as worlds:
        [(_, episode)] = play_episodes([opening], worlds, player)
    assert [m.content for m in player.heard["push/0"][0]] == [
        "As recorded.",
        "You see a door.",
        "push",
        "You pushed 1 times.",
        "push",
        "You pushed 2 times.",
    ]
    assert episode.trajectory.outcome.status == "success"


# ---- worlds that break, hang or are slow ----


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


# ---- tools and experts ----

TOOL_PUSH = Choice("tests.environments.push:ToolPushEnvironment", {"strength": 3})


def test_native_tool_calls_reach_the_world_and_are_recorded_as_calls() -> None:
    task = Task(id="push/0", environment="tool-push", seed=2)

    with Worlds.of(TOOL_PUSH, 1) as worlds:
        player = ExpertPlayer(worlds)

        def seat(environment: Environment) -> None:
            player.seat(task.id, environment, 0)

        opening = Opening(task.id, task, SOURCE, on_start=seat)
        [(_, episode)] = play_episodes([opening], worlds, player)
    trajectory = episode.trajectory
    assert trajectory.outcome.status == "success"
    assert [step.response.tool_calls[0].arguments for step in trajectory.steps] == [
        '{"force": 3}'
    ] * 2
    assert trajectory.steps[1].observation[0].tool_call_id == "1"
    assert trajectory.tools[0]["function"]["name"] == "push"


def test_the_tools_of_the_environment_are_offered_to_the_player() -> None:
    player = RoundPlayer()
    task = Task(id="push/0", environment="tool-push", seed=1)
    with Worlds.of(TOOL_PUSH, 1) as worlds:
        [(_, episode)] = play_episodes([Opening(task.id, task, SOURCE)], worlds, player)
    assert player.tools[task.id] == episode.trajectory.tools != ()
    assert all(step.is_invalid for step in episode.trajectory.steps)


def test_an_expert_that_cannot_go_on_ends_its_episode_only() -> None:
    class Lost:
        def respond(self) -> None:
            raise EpisodeError("lost its way")

    class LostWorld(PushEnvironment):
        def expert(self, seed: int) -> Lost:  # type: ignore[override]
            return Lost()

    with Worlds(lambda: LostWorld(PushConfig()), size=1) as worlds:
        player = ExpertPlayer(worlds)
        opened = [
            Opening(o.name, o.task, SOURCE, on_start=lambda e, name=o.name: player.seat(name, e, 0))
            for o in openings(1, 2)
        ]
        played = list(play_episodes(opened, worlds, player))
    assert [reason(episode) for _, episode in played] == ["lost its way"] * 2


# ---- limits of an episode ----


def limited(
    player: RoundPlayer, *seeds: int, make: Callable[[], Environment] = make_push, **limits: float
) -> dict[str, Trajectory]:
    given = EpisodeLimits.model_validate(limits)
    with Worlds(make, size=4) as worlds:
        played = play_episodes(openings(*seeds), worlds, player, limits=given)
        return {name: episode.trajectory for name, episode in played}


def costly(num_in: int, num_out: int) -> PlayerAnswer:
    usage = Usage(requests=1, input_tokens=num_in, output_tokens=num_out)
    return PlayerAnswer(assistant("push"), usage=usage)


@any_player
@pytest.mark.parametrize(
    ("limits", "num_steps"),
    [
        ({"max_steps": 2}, 2),
        ({"max_answer_tokens": 7}, 3),
        ({"max_answer_tokens": 6}, 2),
        ({"max_context_tokens": 13}, 1),
        ({"max_context_tokens": 14}, 4),
        ({}, 4),
    ],
)
def test_an_episode_that_reaches_a_limit_is_truncated_with_its_reason(
    kind: type[RoundPlayer], limits: dict[str, int], num_steps: int
) -> None:
    player = kind(says={"push/0": costly(10, 3)})
    played = limited(player, 4, 1, **limits)["push/0"]
    assert len(played.steps) == num_steps
    ended = (played.outcome.status, played.outcome.score)
    assert ended == (("success", 1.0) if num_steps == 4 else ("truncated", 0.0))
    for name, value in limits.items() if num_steps < 4 else ():
        assert played.outcome.reason == f"limit of the episode: {name}={value}"
    assert played.source.details["usage"] == {
        "requests": num_steps,
        "input_tokens": 10 * num_steps,
        "output_tokens": 3 * num_steps,
    }


@any_player
def test_the_task_is_judged_before_the_limits(kind: type[RoundPlayer]) -> None:
    played = limited(kind(says={"push/0": costly(10, 3)}), 2, max_steps=2)["push/0"]
    assert (played.outcome.status, played.outcome.reason) == ("success", None)


def test_what_was_reached_before_a_limit_counts() -> None:
    class Scored(PushEnvironment):
        def step(self, response: Message) -> StepResult:
            return replace(super().step(response), score=self.num_pushes / 4)

    played = limited(RoundPlayer(), 4, make=lambda: Scored(PushConfig()), max_steps=2)["push/0"]
    assert (played.outcome.status, played.outcome.score) == ("truncated", 0.5)


def test_a_slow_answer_costs_only_its_own_episode_its_time() -> None:
    player = ReadyPlayer(delays={"push/0": 5.0})
    started = time.monotonic()
    played = limited(player, 1, 3, 2, max_seconds=0.4)
    assert time.monotonic() - started < 3.0
    assert played["push/0"].outcome.reason == "limit of the episode: max_seconds=0.4"
    assert (played["push/0"].outcome.status, played["push/0"].steps) == ("truncated", ())
    assert {played[name].outcome.status for name in ("push/1", "push/2")} == {"success"}
    assert "push/0" in player.closed


def test_an_answer_that_comes_after_the_time_is_ignored() -> None:
    player = ReadyPlayer(delays={"push/0": 0.3, "push/1": 0.15})
    played = limited(player, 1, 1, 4, 4, 4, max_seconds=0.25)
    assert played["push/0"].outcome.status == "truncated"
    assert played["push/1"].outcome.status == "success"


def test_refusals_are_marked_and_usage_is_kept_only_where_it_is_known() -> None:
    refused = PlayerAnswer(NOTHING, "refused", "no", usage=Usage(requests=1, input_tokens=5))
    played = limited(RoundPlayer(says={"push/0": refused}), 1, 1)
    assert played["push/0"].source.details == {
        "refused": True,
        "usage": {"requests": 1, "input_tokens": 5, "output_tokens": 0},
    }
    assert played["push/1"].source.details == {"cut_steps": []}
