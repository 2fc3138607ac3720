"""The one loop: each opening is played once, side by side or in rounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atlas.environments import play as play_module
from atlas.environments.base import Environment
from atlas.environments.episode import Episode
from atlas.environments.expert_player import ExpertPlayer
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import EpisodeError
from atlas.kinds import Choice
from atlas.models.players import Player, PlayerAnswer
from atlas.records import Message, Source, Task
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
