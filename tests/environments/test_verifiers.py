"""Environments of verifiers: its own rollout, stop conditions and rubric, played from outside."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("verifiers.legacy", reason="pip install 'atlas-tuning[verifiers]'")

from atlas.environments.base import ENVIRONMENT
from atlas.environments.play import Opening, play_episodes
from atlas.environments.verifiers.environment import VerifiersEnvironment
from atlas.environments.worlds import Worlds
from atlas.errors import ConfigError, EpisodeError
from atlas.kinds import Choice
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Source, ToolCall
from tests.environments import doors
from tests.environments.players import RoundPlayer

Make = Callable[..., VerifiersEnvironment]
SUM = {"target": "tests.environments.verifiers_worlds:make_sum", "world": "sum"}
with doors.verifiers_lamp() as settings:
    LAMP: dict[str, Any] = settings


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Make:
    def made(**settings: Any) -> VerifiersEnvironment:
        world: VerifiersEnvironment = ENVIRONMENT.make(Choice("verifiers", settings))
        request.addfinalizer(world.close)
        return world

    return made


def say(text: str) -> Message:
    return Message(role="assistant", content=text)


def call(arguments: dict[str, Any], name: str = "add") -> Message:
    calls = (ToolCall(id="c", name=name, arguments=json.dumps(arguments)),)
    return Message(role="assistant", tool_calls=calls)


def test_an_episode_is_played_to_its_end_and_scored_by_the_rubric(make: Make) -> None:
    world = make(**LAMP)
    [task] = world.tasks("train", 1, 0)
    system, question = world.reset(task)
    assert (system.role, system.content) == ("system", "Mind the lamp.")
    assert question.content.startswith("The lamp shows")
    result = world.step(say("up"))
    assert (result.success, result.is_invalid, result.terminated) == (False, False, False)
    assert result.observation[0].content.startswith("It shows")
    assert world.step(say("sing")).is_invalid
    while not result.terminated:
        result = world.step(say("down"))
    assert (result.success, result.score, result.reward, result.truncated) == (True, 1, 1, False)
    assert result.observation[0].content.startswith("It shows")
    assert world.reset(task) == (system, question)


def test_limits_of_verifiers_and_of_the_settings_truncate(make: Make) -> None:
    for settings in ({"max_steps": 3}, {"kwargs": {"max_turns": 3}}):
        world = make(**{**LAMP, **settings})
        world.reset(world.tasks("train", 1, 0)[0])
        results = [world.step(say("up")) for _ in range(3)]
        assert [result.truncated for result in results] == [False, False, True]
        assert not results[-1].success


def test_tools_are_offered_called_and_answered(make: Make) -> None:
    world = make(**SUM, outcome={"reward": 0.5, "score_key": "reward"})
    [tool] = world.tools
    assert tool["function"]["name"] == "add"
    assert "first" in tool["function"]["parameters"]["properties"]
    [task] = world.tasks("train", 1, 0)
    world.reset(task)
    number = 100 + (task.seed or 0)
    bad = world.step(call({}, name="sing"))
    assert bad.is_invalid
    assert bad.observation[0].role == "tool"
    result = world.step(call({"first": number, "second": 2 * number}))
    assert (result.observation[0].content, result.is_invalid) == (str(3 * number), False)
    assert result.observation[0].tool_call_id == "c"
    result = world.step(say(f"It is {3 * number}."))
    assert (result.terminated, result.success, result.score) == (True, True, 0.5)


def test_test_rows_that_are_training_rows_are_left_out(make: Make) -> None:
    world = make(**LAMP)
    assert len(world.tasks("train", 60, 0)) == 60
    assert len(world.tasks("held_in_test", 20, 0)) == 20
    with pytest.raises(ConfigError, match="21 tasks asked of split 'held_in_test', which holds 20"):
        world.tasks("held_in_test", 21, 0)
    # Without data of its own for tests, verifiers gives the training rows again.
    with pytest.raises(ConfigError, match="the environment has no eval_dataset"):
        make(**SUM).tasks("held_in_test", 1, 0)


def test_a_world_that_raises_costs_the_episode_only(make: Make) -> None:
    world = make(**LAMP)
    [task] = world.tasks("train", 1, 0)
    world.reset(task)
    with pytest.raises(EpisodeError, match="InfraError: the lamp is broken"):
        world.step(say("crash"))
    assert world.reset(task)


@pytest.mark.parametrize(
    ("target", "words"),
    [("make_forgetful", "edits the history"), ("make_with_examples", "holds answers of a model")],
)
def test_what_cannot_be_recorded_is_an_error_of_the_episode(
    make: Make, target: str, words: str
) -> None:
    world = make(target=f"tests.environments.verifiers_worlds:{target}")
    [task] = world.tasks("train", 1, 0)

    def play() -> None:
        world.reset(task)
        world.step(say("up"))

    with pytest.raises(EpisodeError, match=words):
        play()


def test_many_episodes_run_at_a_time_and_no_thread_is_left() -> None:
    before = threading.active_count()
    choice = Choice("verifiers", LAMP)
    world = ENVIRONMENT.make(choice)
    tasks = world.tasks("train", 16, 0)
    down = PlayerAnswer(say("down"))
    openings = [Opening(task.id, task, Source(name="test")) for task in tasks]
    with Worlds.of(choice, 8) as worlds:
        player = RoundPlayer({task.id: down for task in tasks})
        ended = [episode for _, episode in play_episodes(openings, worlds, player)]
    assert [episode.outcome.status for episode in ended if episode.outcome] == ["success"] * 16
    world.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "expected either id"),
        ({"target": "os:getcwd"}, "is a str, expected a verifiers.MultiTurnEnv"),
        ({"id": "no-such-world"}, "cannot be made"),
        ({**SUM, "kwargs": {"x": 1}}, "unexpected keyword argument 'x'"),
    ],
)
def test_what_cannot_be_made_says_why(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ENVIRONMENT.make(Choice("verifiers", settings))


def test_an_environment_that_exits_costs_its_episode(make: Make) -> None:
    world = make(target="tests.environments.verifiers_worlds:make_leaving")
    [task] = world.tasks("train", 1, 0)
    for _ in range(2):
        world.reset(task)
        with pytest.raises(EpisodeError, match="SystemExit: 3"):
            world.step(say("up"))


def test_an_environment_may_have_rows_for_evaluation_only(make: Make) -> None:
    world = make(target="tests.environments.verifiers_worlds:make_for_evaluation_only")
    assert len(world.tasks("held_in_test", 5, 0)) == 5
    with pytest.raises(ConfigError, match="split 'train' is empty, because the environment has no"):
        world.tasks("train", 1, 0)


def test_a_reward_function_that_fails_is_an_error_and_not_a_score_of_0(make: Make) -> None:
    world = make(target="tests.environments.verifiers_worlds:make_judged")
    [task] = world.tasks("train", 1, 0)
    for _ in range(2):
        world.reset(task)
        with pytest.raises(EpisodeError, match="ask_absent_judge failed: TimeoutError"):
            world.step(say("up"))
