"""Worlds of Gymnasium: what goes in and out as text, splits by seed, and clear errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gymnasium", reason="the gym extra is not installed")

from atlas.config import check_config
from atlas.environments.base import ENVIRONMENT
from atlas.environments.gymnasium.config import GymnasiumConfig
from atlas.environments.gymnasium.environment import GymnasiumEnvironment
from atlas.environments.observation_text import drawing_text
from atlas.environments.react import react_message
from atlas.errors import ConfigError
from atlas.kinds import Choice
from atlas.records import Message
from tests.environments import doors

Make = Callable[..., GymnasiumEnvironment]
with doors.lamp() as settings:
    LAMP: dict[str, Any] = settings


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Make:
    def made(**settings: Any) -> GymnasiumEnvironment:
        world: GymnasiumEnvironment = ENVIRONMENT.make(Choice("gymnasium", settings))
        request.addfinalizer(world.close)
        return world

    return made


def first(world: GymnasiumEnvironment, split: str = "train") -> str:
    [message] = world.reset(world.tasks(split, 1, 0)[0])
    return message.content


def act(action: str) -> Message:
    return react_message("I try it.", action)


def test_an_episode_is_played_to_its_end(make: Make) -> None:
    world = make(**LAMP)
    assert first(world).startswith("The lamp shows ")
    result = world.step(act("up"))
    assert (result.success, result.is_invalid, result.action) == (False, False, "up")
    while not result.terminated:
        result = world.step(act(" Down "))
    assert (result.success, result.score, result.reward, result.truncated) == (True, 1, 1, False)


def test_what_is_in_info_is_never_shown(make: Make) -> None:
    world = make(**LAMP)
    shown = first(world) + "".join(
        message.content
        for action in ("up", "sideways", "down")
        for message in world.step(act(action)).observation
    )
    assert "answer" not in shown
    assert "secret" not in shown


def test_the_actions_are_named_in_the_prompt_and_after_a_wrong_one(make: Make) -> None:
    world = make(**LAMP)
    assert "Actions: up, down." in world.prompt[0].content
    first(world)
    result = world.step(act("sideways"))
    assert result.is_invalid
    assert "'sideways' is not an action here. Actions: up, down." in result.observation[0].content
    nothing = world.step(Message(role="assistant", content="hm"))
    assert (nothing.is_invalid, nothing.action) == (True, None)


def test_words_may_stand_for_any_action_of_the_space(make: Make) -> None:
    world = make(id="Pendulum-v1", actions={"left": [-2.0], "stay": [0.0]}, observation="json")
    text = first(world)
    assert text.startswith("[")
    assert all(len(number.strip(" []-")) <= 7 for number in text.split(","))
    assert not world.step(act("left")).is_invalid


@pytest.mark.parametrize(
    ("said", "is_read"), [("1", True), ("0", True), ("2", False), ("up", False), ("-1", False)]
)
def test_without_words_a_discrete_action_is_its_number(
    make: Make, said: str, is_read: bool
) -> None:
    world = make(**{**LAMP, "actions": None})
    assert "a number from 0 to 1" in world.prompt[0].content
    first(world)
    assert world.step(act(said)).is_invalid != is_read


def test_text_spaces_take_the_text_and_refuse_what_they_do_not_contain(make: Make) -> None:
    world = make(target="tests.environments.gym_worlds:EchoWorld", outcome={"by": "terminated"})
    assert first(world) == "Hello 0."
    assert world.step(act("go on")).observation[0].content == "You said go on."
    assert world.step(act("go on" * 20)).is_invalid
    assert world.step(act("done")).success


def test_the_whole_response_may_be_the_action(make: Make) -> None:
    world = make(target="tests.environments.gym_worlds:EchoWorld", reply="text")
    assert "Thought" not in world.prompt[0].content
    first(world)
    spoken = world.step(Message(role="assistant", content=" hello there\n"))
    assert spoken.action == "hello there"
    assert world.step(Message(role="assistant", content=" ")).is_invalid


def test_the_drawing_of_a_world_marks_the_agent_without_terminal_codes(make: Make) -> None:
    world = make(
        id="FrozenLake-v1",
        kwargs={"is_slippery": False},
        actions=["left", "down", "right", "up"],
        observation="render",
    )
    assert first(world).startswith("[S]FFF\n")
    assert drawing_text("\x1b[1;34mR\x1b[0m:\x1b[2J|") == "[R]:\x1b[2J|"
    for action in ("down", "down", "right", "right", "down", "right"):
        result = world.step(act(action))
    assert result.success


@pytest.mark.parametrize(
    ("rule", "success", "score"),
    [
        ({}, False, 0.0),
        ({"by": "key", "success_key": "is_solved"}, False, 0.0),
        ({"by": "terminated"}, False, 0.0),
        ({"reward": -1.0}, True, 1.0),
        ({"score_key": "closeness"}, False, None),
    ],
)
def test_success_and_score_follow_the_rule(
    make: Make, rule: dict[str, Any], success: bool, score: float | None
) -> None:
    world = make(**LAMP, outcome=rule)
    first(world)
    result = world.step(act("up"))
    assert result.success == success
    assert result.score == score if score is not None else 0 < result.score < 1
    if rule.get("reward") != -1.0:
        while not result.terminated:
            result = world.step(act("down"))
        assert (result.success, result.score) == (True, 1.0)


def test_a_step_limit_of_the_world_or_of_the_settings_truncates(make: Make) -> None:
    for settings in ({"max_steps": 2}, {"kwargs": {"limit": 2}}):
        world = make(**{**LAMP, **settings})
        first(world)
        results = [world.step(act("up")) for _ in range(2)]
        assert [result.truncated for result in results] == [False, True]
        assert not results[-1].terminated


def test_the_world_may_say_that_an_action_was_wrong(make: Make) -> None:
    world = make(**LAMP, invalid_key="was_wrong")
    first(world)
    results = [world.step(act("up")) for _ in range(4)]
    assert results[-1].is_invalid
    assert results[-1].action == "up"


def test_a_split_has_its_own_seeds_and_arguments(make: Make) -> None:
    splits = {
        "train": {"first_seed": 0, "num_seeds": 3},
        "held_out_test": {"first_seed": 0, "num_seeds": 2, "kwargs": {"step": 10}},
    }
    world = make(**LAMP, splits=splits)
    assert [task.seed for task in world.tasks("train", 3, 1)] == [1, 2, 0]
    assert world.tasks("train", 2, 0)[0].id == "lamp/train/0"
    with pytest.raises(ConfigError, match="3 tasks asked of split 'held_out_test', which holds 2"):
        world.tasks("held_out_test", 3, 0)
    with pytest.raises(ConfigError, match="Known: held_out_test, train"):
        world.tasks("test", 1, 0)

    def distance(split: str) -> int:
        words = first(world, split).rstrip(".").replace(",", "").split()
        return int(words[3]) - int(words[-1])

    assert distance("held_out_test") == 10 * distance("train")
    assert distance("train") < 10


def test_splits_that_share_seeds_are_refused() -> None:
    shared = {"train": {"first_seed": 0, "num_seeds": 10}, "test": {"first_seed": 9}}
    with pytest.raises(ConfigError, match="'train' and 'test' have the seeds 9 to 9 in common"):
        check_config(GymnasiumConfig, {"id": "FrozenLake-v1", "splits": shared}, "here")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "expected either id"),
        ({"id": "FrozenLake-v1", "target": "a.b:C"}, "expected either id"),
        ({"id": "FrozenLak-v1"}, "Did you mean: `FrozenLake`"),
        ({"target": "no_such_module:World"}, "cannot be imported: No module named"),
        ({"target": "os:getcwd"}, "is a str, expected a gymnasium.Env"),
        ({**LAMP, "kwargs": {"size": 3}}, "unexpected keyword argument 'size'"),
        ({"id": "Pendulum-v1"}, "Give the words for them"),
        ({**LAMP, "actions": ["a", "b", "c"]}, "'c' stands for 2, which is not an action"),
        ({**LAMP, "outcome": {"by": "key"}}, "by=key needs success_key"),
    ],
)
def test_what_cannot_be_made_says_why(settings: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=words):
        ENVIRONMENT.make(Choice("gymnasium", settings))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"observation_key": None}, "are a dict with view, numbers, expected a text"),
        ({"observation_key": "numbers"}, "are a ndarray, expected a text"),
        ({"observation_key": "view.tex"}, "no 'tex'; it is a dict with text"),
        ({"observation": "render"}, "Its render modes are: none"),
    ],
)
def test_an_observation_that_is_not_text_names_the_setting(
    make: Make, settings: dict[str, Any], words: str
) -> None:
    if settings.get("observation") == "render":
        # Worlds without drawings take no render_mode.
        with pytest.raises(ConfigError, match="unexpected keyword argument 'render_mode'"):
            make(**{**LAMP, **settings})
        return
    world = make(**{**LAMP, **settings})
    with pytest.raises(ConfigError, match=words):
        first(world)


def test_an_instruction_of_the_user_is_the_prompt(make: Make, tmp_path: Path) -> None:
    (tmp_path / "say.txt").write_text("Bring the lamp there.\n")
    world = make(**LAMP, instruction=str(tmp_path / "say.txt"))
    assert world.prompt == (Message(role="system", content="Bring the lamp there."),)


def test_two_settings_of_one_kind_are_two_worlds_in_records(make: Make) -> None:
    lamp, lake = make(**LAMP), make(id="FrozenLake-v1", observation="render")
    assert {lamp.name, lake.name} == {"lamp", "FrozenLake-v1"}
    assert lake.tasks("train", 1, 0)[0].environment == "FrozenLake-v1"
    assert "by seed" in lamp.notes("train")[0]
