"""Playing a batch: every opening is played once, an environment serves one episode at a time, and each name hears what is new to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from atlas.environments.base import Environment
from atlas.environments.episode import Episode
from atlas.environments.play import Opening, play_batch
from atlas.records import Message, Source, Task
from tests.environments.push import PushEnvironment


@dataclass(frozen=True)
class Word:
    text: str
    finish: str = "stop"


class Pusher:
    """Pushes always; has no room for those named in `full`."""

    def __init__(self, full: Sequence[str] = ()) -> None:
        self.full = full
        self.heard: dict[str, list[Sequence[Message]]] = {}
        self.rounds: list[set[str]] = []
        self.closed: list[str] = []

    def respond(self, new_messages: Mapping[str, Sequence[Message]]) -> dict[str, Word]:
        self.rounds.append(set(new_messages))
        for name, messages in new_messages.items():
            self.heard.setdefault(name, []).append(messages)
        return {
            name: Word("push", "context" if name in self.full else "stop") for name in new_messages
        }

    def close(self, name: str) -> None:
        self.closed.append(name)


def start(environment: Environment, task: Task) -> Episode:
    episode = Episode(environment, Source(name="test"))
    episode.start(task)
    return episode


def openings(*seeds: int | None) -> list[Opening]:
    tasks = [
        Task(id=f"push/{number}", environment="push", seed=seed)
        for number, seed in enumerate(seeds)
    ]
    return [Opening(task.id, partial(start, task=task)) for task in tasks]


def play(player: Pusher, num_environments: int, *seeds: int | None) -> list[tuple[str, Episode]]:
    return list(
        play_batch(
            openings(*seeds),
            [PushEnvironment() for _ in range(num_environments)],
            player,
            "no room",
        )
    )


def test_every_opening_is_played_once_and_its_place_goes_to_the_next() -> None:
    player = Pusher()
    played = play(player, 2, 1, 3, 1, 2)
    assert [name for name, _ in played] == ["push/0", "push/2", "push/1", "push/3"]
    assert all(
        episode.outcome is not None and episode.outcome.status == "success" for _, episode in played
    )
    assert max(map(len, player.rounds)) == 2
    assert sorted(player.closed) == sorted(name for name, _ in played)


def test_a_player_hears_the_whole_opening_first_and_then_what_is_new() -> None:
    player = Pusher()
    [(name, episode)] = play(player, 3, 2)
    first, second = player.heard[name]
    assert [message.content for message in first] == ["Open the door.", "You see a door."]
    assert [message.content for message in second] == ["You pushed 1 times."]
    assert episode.trajectory.messages[:2] == first


def test_an_episode_that_cannot_start_is_over_at_once_and_costs_no_other_its_place() -> None:
    player = Pusher()
    played = dict(play(player, 1, None, 1))
    assert {name: episode.trajectory.outcome.status for name, episode in played.items()} == {
        "push/0": "error",
        "push/1": "success",
    }
    assert "push/0" not in player.heard


def test_an_episode_without_room_to_answer_is_truncated_with_the_reason() -> None:
    [(_, episode)] = play(Pusher(full=["push/0"]), 1, 2)
    assert (
        episode.trajectory.outcome.status,
        episode.trajectory.outcome.reason,
        len(episode.trajectory.steps),
    ) == (
        "truncated",
        "no room",
        0,
    )


def test_nothing_to_play_asks_nobody() -> None:
    player = Pusher()
    assert play(player, 2) == []
    assert player.rounds == []
