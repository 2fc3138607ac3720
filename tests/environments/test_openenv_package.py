"""Worlds on servers of the package openenv 0.10, and the package's own client on our server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("openenv.core", reason="pip install openenv: its servers play in this test")

from atlas.environments.base import ENVIRONMENT
from atlas.environments.openenv.environment import OpenEnvEnvironment
from atlas.environments.play import Opening, play_episodes
from atlas.environments.react import react_message
from atlas.environments.worlds import Worlds
from atlas.errors import ConfigError, EpisodeError
from atlas.kinds import Choice
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Source, ToolCall
from tests.environments.openenv_server import running_server
from tests.environments.players import RoundPlayer
from tests.serving.served import serving

MODULE = "tests.environments.openenv_package_server"


@pytest.fixture(scope="module")
def text_server() -> Iterator[str]:
    with running_server(MODULE, "text") as address:
        yield address


@pytest.fixture(scope="module")
def tool_server() -> Iterator[str]:
    with running_server(MODULE, "tools") as address:
        yield address


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Callable[..., OpenEnvEnvironment]:
    def made(address: str, **settings: Any) -> OpenEnvEnvironment:
        choice = Choice("openenv", {"base_url": address, "connect_seconds": 2.0, **settings})
        world: OpenEnvEnvironment = ENVIRONMENT.make(choice)
        request.addfinalizer(world.close)
        return world

    return made


def test_an_episode_by_text(make: Any, text_server: str) -> None:
    world = make(text_server, outcome={"by": "key", "success_key": "is_solved"})
    [task] = world.tasks("train", 1, 0)
    [first] = world.reset(task)
    assert "wanted is" in first.content
    assert "secret" not in first.content
    result = world.step(react_message("x", "up"))
    while not result.terminated:
        result = world.step(react_message("x", "down"))
    assert (result.success, result.score, result.reward) == (True, 1, 1)
    assert world.reset(task) == (first,)


def test_a_world_that_raises_costs_the_episode_only(make: Any, text_server: str) -> None:
    world = make(text_server)
    [task] = world.tasks("train", 1, 0)
    world.reset(task)
    with pytest.raises(EpisodeError, match="EXECUTION_ERROR: the lamp is broken"):
        world.step(react_message("x", "crash"))
    assert world.reset(task)


def test_a_wrong_field_names_the_setting(make: Any, text_server: str) -> None:
    world = make(text_server, action_field="message")
    world.reset(world.tasks("train", 1, 0)[0])
    with pytest.raises(ConfigError, match=r"\['text'\]: Field required.*Set action_field"):
        world.step(react_message("x", "up"))


def test_an_episode_by_tools(make: Any, tool_server: str) -> None:
    world = make(tool_server, actions="tools")
    [tool] = world.tools
    assert tool["function"]["name"] == "turn"
    assert tool["function"]["description"] == "Turn the number up or down."
    assert tool["function"]["parameters"]["required"] == ["way"]
    world.reset(world.tasks("train", 1, 0)[0])

    def call(**arguments: str) -> Message:
        calls = (ToolCall(id="1", name="turn", arguments=json.dumps(arguments)),)
        return Message(role="assistant", tool_calls=calls)

    result = world.step(call(way="sideways"))
    assert result.is_invalid
    assert "the way is up or down" in result.observation[0].content
    assert world.step(call(wa="up")).is_invalid
    result = world.step(call(way="up"))
    assert not result.is_invalid
    assert result.observation[0].content.startswith(
        str(int(result.observation[0].content.split(",")[0]))
    )
    while not result.terminated:
        result = world.step(call(way="down"))
    assert result.success


def test_a_full_server_says_how_many_worlds_it_has_room_for(make: Any, text_server: str) -> None:
    worlds = [make(text_server) for _ in range(9)]
    for world in worlds[:8]:
        world.reset(world.tasks("train", 1, 0)[0])
    with pytest.raises(ConfigError, match="Set worlds=8"):
        worlds[8].reset(worlds[8].tasks("train", 1, 0)[0])
    worlds[0].close()
    worlds[8].reset(worlds[8].tasks("train", 1, 0)[0])


def test_many_episodes_run_at_a_time(text_server: str) -> None:
    choice = Choice("openenv", {"base_url": text_server})
    world = ENVIRONMENT.make(choice)
    tasks = world.tasks("train", 24, 0)
    world.close()
    down = PlayerAnswer(react_message("x", "down"))
    openings = [Opening(task.id, task, Source(name="test")) for task in tasks]
    with Worlds.of(choice, 8) as worlds:
        player = RoundPlayer({task.id: down for task in tasks})
        ended = [episode for _, episode in play_episodes(openings, worlds, player)]
    assert [episode.outcome.status for episode in ended if episode.outcome] == ["success"] * 24


def test_the_client_of_the_package_plays_our_server() -> None:
    from openenv.core import GenericEnvClient

    pytest.importorskip("minigrid", reason="the babyai extra is not installed")
    local = ENVIRONMENT.make(Choice("babyai"))
    tasks = local.tasks("held_in_test", 10, 0)
    with (
        serving("--env", "babyai", "tasks=10", "split=held_in_test") as (address, _),
        GenericEnvClient(base_url=address).sync() as client,
    ):
        for number, task in enumerate(tasks):
            seen = client.reset(seed=number)
            assert seen.observation["text"] == local.reset(task)[0].content
            assert seen.metadata["task_id"] == task.id
            expert, done = local.expert(0), False
            while not done:
                said = expert.respond().response
                mine = local.step(said)
                seen = client.step({"text": said.content})
                assert seen.observation["text"] == mine.observation[0].content
                assert seen.metadata["score"] == mine.score
                done = seen.done
            assert seen.metadata["success"]
            assert client.state()["episode_id"] == task.id
