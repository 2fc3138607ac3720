"""Limits of one episode: the answer that reaches one is carried out, then the episode ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from atlas.environments.base import Environment, StepResult
from atlas.environments.episode_limits import EpisodeLimits
from atlas.environments.play import play_episodes
from atlas.environments.worlds import Worlds
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Trajectory, Usage
from tests.environments.players import NOTHING, ReadyPlayer, RoundPlayer
from tests.environments.push import PushConfig, PushEnvironment, assistant, make_push
from tests.environments.test_play import (
    any_player,
    openings,
)


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
