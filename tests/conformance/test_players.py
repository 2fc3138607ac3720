"""Every row of PLAYERS, and a scripted one, keep the contract of `models/players.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.config import Config
from atlas.kinds import Choice
from atlas.models.local.local_player import LocalPlayer, LocalPlayerConfig
from atlas.models.players import PLAYER, PLAYERS, AnswersAsReady, Player, PlayerAnswer, Reopens
from atlas.records import Message
from tests.environments.players import ReadyPlayer
from tests.models.endpoints.chat_server import Reply, completion, serve
from tests.models.served.serving import settings

LOCAL = {"max_new_tokens": 4, "batch_size": 2, "precision": "fp32"}


def echo(body: dict[str, Any], number: int) -> Reply:
    return completion(f"{len(body['messages'])} {body['messages'][-1]['content']}")


@pytest.fixture(params=[*PLAYERS, "scripted"])
def player(
    request: pytest.FixtureRequest, tiny_model_folder: Path, tmp_path: Path
) -> Iterator[Player]:
    if request.param == "local":
        made: Player = PLAYER.make(Choice("local", LOCAL), str(tiny_model_folder), 0)
        yield made
        made.end()
    elif request.param == "endpoint":
        with serve(echo) as server:
            endpoint = {"base_url": server.url, "max_in_flight": 2}
            made = PLAYER.make(Choice("endpoint", {"endpoint": endpoint}), "m", 0)
            yield made
            made.end()
    elif request.param == "served":
        made = PLAYER.make(Choice("served", settings(tmp_path)), str(tiny_model_folder), 0)
        yield made
        made.end()
    elif request.param in PLAYERS:
        made = PLAYER.make(Choice(request.param), "m", 0)
        yield made
        made.end()
    else:
        yield ReadyPlayer()


def observe(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def ask(player: Player, **said: str) -> dict[str, PlayerAnswer]:
    """The answers of a round, however they come."""
    for name, text in said.items():
        player.submit(name, observe(text))
    answers: dict[str, PlayerAnswer] = {}
    while len(answers) < len(said):
        answers |= player.next_answers(5.0)
    return answers


@pytest.mark.parametrize("name", sorted(PLAYERS))
def test_its_settings_are_a_config_with_a_description_for_each_field(name: str) -> None:
    kind = PLAYER.find(name)
    assert PLAYER.describe(name)
    assert issubclass(kind.Config, Config)
    assert all(field.description for field in kind.Config.model_fields.values())


def test_each_conversation_is_answered_once_by_an_assistant_turn(player: Player) -> None:
    answers = ask(player, a="one", b="two", c="three")
    assert set(answers) == {"a", "b", "c"}
    for answer in answers.values():
        assert answer.message.role == "assistant"
        assert answer.finish in ("stop", "length")
    assert player.next_answers(0.05) == {}


def test_what_a_conversation_hears_does_not_depend_on_the_others(player: Player) -> None:
    together = [ask(player, a="one", b="two")["a"], ask(player, b="three", a="four")["a"]]
    for name in "ab":
        player.close(name)
    # A closed name opens a new conversation.
    apart = [ask(player, a="one")["a"], ask(player, a="four")["a"]]
    assert [answer.message for answer in together] == [answer.message for answer in apart]


def test_closing_an_unknown_conversation_is_accepted(player: Player) -> None:
    player.close("nobody")
    assert set(ask(player, a="one")) == {"a"}


def test_a_player_that_answers_as_ready_can_be_woken_and_keeps_to_the_timeout(
    player: Player,
) -> None:
    if not isinstance(player, AnswersAsReady):
        pytest.skip("it answers in rounds")
    assert player.next_answers(0.01) == {}
    player.wake()
    assert player.next_answers(None) == {}


def test_a_player_that_opens_again_answers_as_before_under_the_same_settings(
    player: Player,
) -> None:
    if not isinstance(player, Reopens):
        pytest.skip("it is made anew for each evaluation")
    said = ask(player, a="one", b="two")
    opened: Any = player
    if isinstance(player, LocalPlayer):
        config, length = LocalPlayerConfig.model_validate(LOCAL), "max_new_tokens"
    else:
        config, length = opened._config, "max_tokens"
    for changed in ({}, {length: 1}):
        opened = opened.reopened(config.model_copy(update=changed))
        answers = ask(opened, a="one", b="two")
        if not changed:
            assert answers == said
        else:
            assert all(answer.usage.output_tokens == 1 for answer in answers.values())
    opened.end()


def test_ending_twice_is_accepted(player: Player) -> None:
    ask(player, a="one")
    player.end()
    player.end()
