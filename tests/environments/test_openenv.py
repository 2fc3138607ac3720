"""Worlds on OpenEnv servers: text and tools, servers that fail, many sessions, errors."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("websockets", reason="the openenv extra is not installed")

from atlas.environments.base import ENVIRONMENT
from atlas.environments.openenv.connection import socket_url
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

Make = Callable[..., OpenEnvEnvironment]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as address:
        yield address


@pytest.fixture
def make(server: str, request: pytest.FixtureRequest) -> Make:
    def made(mode: str = "", **settings: Any) -> OpenEnvEnvironment:
        given = {"base_url": f"{server}/{mode}", "connect_seconds": 1.0, **settings}
        world: OpenEnvEnvironment = ENVIRONMENT.make(Choice("openenv", given))
        request.addfinalizer(world.close)
        return world

    return made


def first(world: OpenEnvEnvironment) -> str:
    [message] = world.reset(world.tasks("train", 1, 0)[0])
    return message.content


def act(action: str) -> Message:
    return react_message("I try it.", action)


def call(*arguments: str, name: str = "turn") -> Message:
    calls = tuple(
        ToolCall(id=f"c{number}", name=name, arguments=text)
        for number, text in enumerate(arguments)
    )
    return Message(role="assistant", tool_calls=calls)


def test_an_episode_is_played_to_its_end(make: Make) -> None:
    world = make(observation_key="text")
    assert ", wanted is " in first(world)
    result = world.step(act("up"))
    assert (result.success, result.is_invalid, result.terminated) == (False, False, False)
    while not result.terminated:
        result = world.step(act("down"))
    assert (result.success, result.score, result.truncated) == (True, 1, False)


def test_without_a_key_the_only_text_of_an_observation_is_shown(make: Make) -> None:
    world = make()
    text = first(world)
    assert text.endswith(".")
    assert "{" not in text
    assert json.loads(json.dumps(text)) == text


def test_metadata_is_for_the_rule_and_never_shown(make: Make) -> None:
    world = make(outcome={"by": "key", "success_key": "is_solved"})
    shown = first(world)
    result = world.step(act("up"))
    while not result.terminated:
        result = world.step(act("down"))
        shown += result.observation[0].content
    assert result.success
    assert "secret" not in shown
    assert "answer" not in shown


def test_the_tools_of_the_server_are_offered_and_called_in_order(make: Make) -> None:
    world = make(actions="tools")
    [tool] = world.tools
    assert tool["function"]["name"] == "turn"
    assert tool["function"]["parameters"]["type"] == "object"
    first(world)
    result = world.step(call('{"way": "up"}', '{"way": "down"}'))
    assert [message.tool_call_id for message in result.observation] == ["c0", "c1"]
    assert all(message.role == "tool" for message in result.observation)
    assert not result.is_invalid
    result = world.step(call('{"way": "down"}', '{"way": "down"}', '{"way": "down"}'))
    texts = [message.content for message in result.observation]
    assert result.success
    assert result.reward == 1
    # What comes after the end is answered, too.
    assert len(texts) == 3
    assert result.is_invalid == ("The episode is over." in texts)


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (call("{}", name="sing"), "No tool is called 'sing'. Tools: turn."),
        (call("not JSON"), "not a JSON object"),
        (call("[1]"), "not a JSON object"),
        (call("[" * 100_000), "not a JSON object"),
        (call('{"way": "sideways"}'), "Error: no"),
        (Message(role="assistant", content="turn up"), "No tool call found"),
    ],
)
def test_a_call_that_cannot_be_made_is_answered(make: Make, response: Message, words: str) -> None:
    world = make(actions="tools")
    first(world)
    result = world.step(response)
    assert result.is_invalid
    assert words in result.observation[0].content


@pytest.mark.parametrize(
    ("kind", "said", "is_read"),
    [
        ("number", "3", True),
        ("number", "three", False),
        ("number", "--3", False),
        ("json", '{"text": NaN}', False),
        ("json", '{"text": "up"}', True),
        ("json", "[3]", False),
        ("json", "up", False),
    ],
)
def test_an_action_may_be_a_number_or_json(make: Make, kind: str, said: str, is_read: bool) -> None:
    world = make(actions=kind, action_fields={"note": "x"})
    first(world)
    result = world.step(act(said))
    assert result.is_invalid != is_read
    assert (": an" in result.observation[0].content) is False


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("hang", "did not answer in 0.3 s"),
        ("die", "closed the connection"),
        ("garbage", "'<html>502 Bad Gateway</html>', expected JSON"),
        ("bytes", "expected JSON"),
        ("deep", "expected JSON"),
        ("list", r"answered \[1, 2\] to step"),
        ("state", "answered with the type 'state' to step"),
        ("nodata", "answered {'type': 'observation'} to step"),
        ("text", "sent observation as 'a text'"),
        ("nan", "sent reward as nan"),
        ("flag", "sent done as 'no'"),
        ("huge", "sent a message of more than 1 MiB"),
        ("fault", "the world failed in a step: EXECUTION_ERROR: the lamp is broken"),
        ("nothing", "the world failed in a step"),
    ],
)
def test_a_server_that_fails_costs_the_episode_and_not_the_next_one(
    make: Make, mode: str, words: str
) -> None:
    world = make(mode, timeout_seconds=0.3, max_message_mib=1)
    text = first(world)
    with pytest.raises(EpisodeError, match=words):
        world.step(act("up"))
    assert first(world) == text


def test_an_action_that_the_server_refuses_is_invalid_and_a_wrong_field_is_a_wrong_setting(
    make: Make,
) -> None:
    world = make("literal")
    first(world)
    result = world.step(act("sing"))
    assert result.is_invalid
    assert "That action is not valid: it is literal_error" in result.observation[0].content
    world = make("missing")
    first(world)
    with pytest.raises(ConfigError, match="Set action_field"):
        world.step(act("up"))


def test_what_the_world_says_may_mean_that_an_action_was_refused(make: Make) -> None:
    world = make(invalid_pattern=r"^\d+, wanted")
    first(world)
    assert world.step(act("sing")).is_invalid
    with pytest.raises(ValueError, match="invalid_pattern"):
        make(invalid_pattern="(")


def test_a_refused_reset_is_an_error_of_the_episode(make: Make) -> None:
    with pytest.raises(EpisodeError, match="refused to reset: EXECUTION_ERROR: no such seed"):
        first(make("unready"))


def test_a_session_that_was_closed_between_episodes_is_opened_again(make: Make) -> None:
    world = make("restart")
    for _ in range(3):
        text = first(world)
        result = world.step(act("down"))
        while not result.terminated:
            result = world.step(act("down"))
        assert result.success
        assert first(world) == text


def test_a_server_that_is_full_says_how_many_worlds_it_has_room_for(make: Make) -> None:
    with pytest.raises(
        ConfigError, match=r"has room for 2 sessions, and all are used\. Set worlds=2"
    ):
        first(make("full"))


def test_a_server_that_is_not_there_is_reported_before_the_first_episode(make: Make) -> None:
    world = make(base_url="http://127.0.0.1:9", connect_seconds=0.3)
    with pytest.raises(EpisodeError, match=r"no OpenEnv server answers at ws://127\.0\.0\.1:9/ws"):
        world.tasks("train", 1, 0)


def test_a_server_that_is_killed_and_started_again_loses_one_episode_at_most() -> None:
    with running_server() as address:
        world = ENVIRONMENT.make(
            Choice("openenv", {"base_url": f"{address}/kill", "connect_seconds": 0.3})
        )
        first(world)
        with pytest.raises(EpisodeError, match=r"closed the connection|is lost"):
            world.step(act("up"))
        with pytest.raises(EpisodeError, match="no OpenEnv server answers"):
            world.reset(world.tasks("train", 1, 0)[0])
        world.close()


def test_many_episodes_run_at_a_time_and_a_hanging_one_costs_only_itself(
    server: str,
) -> None:
    settings = {"base_url": server, "timeout_seconds": 5.0}
    choice = Choice("openenv", settings)
    with Worlds.of(choice, 24) as worlds:
        world = ENVIRONMENT.make(choice)
        tasks = world.tasks("train", 48, 0)
        world.close()
        openings = [Opening(task.id, task, Source(name="test")) for task in tasks]
        down = PlayerAnswer(act("down"))
        player = RoundPlayer({task.id: down for task in tasks})
        started = time.monotonic()
        ended = dict(play_episodes(openings, worlds, player))
    assert len(ended) == 48
    assert {episode.outcome.status for episode in ended.values() if episode.outcome} == {"success"}
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
        ("https://a.hf.space/", "wss://a.hf.space/ws"),
        ("ws://h:1/x", "ws://h:1/x/ws"),
        ("localhost:8000", "ws://localhost:8000/ws"),
    ],
)
def test_the_address_of_the_socket_follows_from_that_of_the_server(given: str, url: str) -> None:
    assert socket_url(given) == url


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an address"):
        socket_url("ftp://here")


def test_the_model_changes_no_fixed_field_of_an_action(make: Make) -> None:
    world = make(actions="json", action_fields={"text": "down"})
    before = int(first(world).partition(",")[0])
    [seen] = world.step(act('{"text": "up"}')).observation
    assert int(seen.content.partition(",")[0]) == before - 1


@pytest.mark.parametrize(
    "settings",
    [
        {"reset_fields": {"seed": 3}},
        {"splits": {"train": {"first_seed": 0, "kwargs": {"seed": 3}}}},
    ],
)
def test_a_fixed_seed_is_refused(make: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="seed is the task's own"):
        make(**settings)
