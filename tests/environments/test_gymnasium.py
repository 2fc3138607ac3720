"""Worlds of Gymnasium: what goes in and out as text, splits by seed, and clear errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gymnasium", reason="the gym extra is not installed")

from atlas.config import check_config
from atlas.environments.base import ENVIRONMENT
from atlas.environments.gymnasium.config import GymnasiumConfig
from atlas.environments.gymnasium.environment import GymnasiumEnvironment
from atlas.environments.observation_text import drawing_text, json_text
from atlas.environments.react import react_message
from atlas.errors import ConfigError, EpisodeError
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
    ("said", "is_read"),
    [("1", True), ("0", True), ("2", False), ("up", False), ("-1", False), ("--1", False)],
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
        ({"reward": -1.0}, False, 0.0),
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


def test_arguments_of_all_splits_make_no_split_another_one() -> None:
    same = {"first_seed": 0, "num_seeds": 10, "kwargs": {"map_name": "4x4"}}
    splits = {"train": {"first_seed": 0, "num_seeds": 10}, "held_out_test": same}
    given = {"id": "FrozenLake-v1", "kwargs": {"map_name": "4x4"}, "splits": splits}
    with pytest.raises(ConfigError, match="have the seeds 0 to 9 in common"):
        check_config(GymnasiumConfig, given, "here")


@pytest.mark.parametrize(
    ("space", "value", "shown"),
    [
        ("multi_discrete", [1, 2], "array([1, 2])"),
        ("multi_binary", [0, 1], "array([0, 1], dtype=int8)"),
        ("tuple", [1, [0.5]], "(1, array([0.5], dtype=float32))"),
        ("dict", {"way": 1, "force": [0.5]}, "{'force': array([0.5], dtype=float32), 'way': 1}"),
    ],
)
def test_words_stand_for_actions_of_every_kind_of_space(
    make: Make, space: str, value: Any, shown: str
) -> None:
    target = "tests.environments.gym_worlds:make_repeating"
    world = make(target=target, kwargs={"space": space}, actions={"go": value})
    first(world)
    # The world changes what it is given.
    for _ in range(2):
        [seen] = world.step(act("go")).observation
        assert seen.content == shown


def test_a_fraction_is_no_action_of_whole_numbers(make: Make) -> None:
    target = "tests.environments.gym_worlds:make_repeating"
    with pytest.raises(ConfigError, match="is not an action"):
        make(target=target, kwargs={"space": "multi_discrete"}, actions={"go": [0.5, 1]})


def test_a_world_may_need_arguments_that_its_splits_give(make: Make) -> None:
    target = "tests.environments.gym_worlds:make_repeating"
    small, large = (
        {"first_seed": seed, "kwargs": {"space": space}}
        for seed, space in ((0, "two"), (2_000_000, "three"))
    )
    world = make(target=target, splits={"train": small, "held_out_test": large})
    assert "from 0 to 1" in world.prompt[0].content
    assert "from 0" not in first(world)
    # The prompt names other actions than this split has.
    assert "An action is a number from 0 to 2." in first(world, "held_out_test")


def test_details_that_are_missing_or_text_are_no_success(make: Make) -> None:
    target = "tests.environments.gym_worlds:make_repeating"
    rule = {"by": "key", "success_key": "won"}
    world = make(target=target, kwargs={"space": "two"}, outcome=rule)
    first(world)
    assert not world.step(act("1")).success
    world = make(target=target, kwargs={"space": "two", "info": {"won": "False"}}, outcome=rule)
    first(world)
    with pytest.raises(EpisodeError, match="'won' is 'False', expected true or false"):
        world.step(act("1"))


def test_an_unfinished_episode_of_costs_is_no_success(make: Make) -> None:
    world = make(
        id="CliffWalking-v1",
        actions=["up", "right", "down", "left"],
        observation="json",
        outcome={"reward": -13.0},
        max_steps=3,
    )
    first(world)
    results = [world.step(act(said)) for said in ("fly", "fly", "up")]
    assert [(one.success, one.truncated) for one in results] == [(False, False)] * 2 + [
        (False, True)
    ]


def test_the_order_of_a_set_does_not_differ_between_processes() -> None:
    words = frozenset({"sword", "lamp", "rope"})
    assert json_text({"inventory": words}) == '{"inventory": ["lamp", "rope", "sword"]}'


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
        ({**LAMP, "actions": []}, "actions is empty"),
        ({**LAMP, "actions": {"Up": 0, "up": 1}}, "'up' is given twice"),
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


def test_tasks_that_begin_alike_and_easy_thresholds_are_noted(make: Make) -> None:
    settings = {"actions": ["left", "down", "right", "up"], "observation": "render"}
    notes = make(id="FrozenLake-v1", **settings).notes("held_in_test")
    assert (
        "the first 10 tasks of 'held_in_test' have only 1 different first observations" in notes[1]
    )
    assert "10 of the first 10 tasks of 'held_in_test' begin as training tasks do" in notes[2]
    assert len(notes) == 3
    assert len(make(**LAMP).notes("held_in_test")) == 1
    cart = make(id="CartPole-v1", observation="json").notes("train")
    assert "from a total reward of 1 on (outcome.reward); gymnasium calls" in cart[-1]


def test_a_world_that_breaks_is_no_fault_of_the_notes(make: Make) -> None:
    assert len(make(id="Pendulum-v1", actions={"stay": [0.0]}).notes("train")) == 1


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        # Two letters are no observation with info.
        ({"first": "ok"}, "reset of 'old' returned 'ok', expected (observation, info)"),
        ({"later": ("x", 0.0, False, {})}, "step of 'old' returned 4 values, expected"),
    ],
)
def test_worlds_of_the_old_gym_are_named_as_such(
    make: Make, kwargs: dict[str, Any], words: str
) -> None:
    world = make(target="tests.environments.gym_worlds:OldWorld", world="old", kwargs=kwargs)

    def play() -> None:
        first(world)
        world.step(act("1"))

    with pytest.raises(ConfigError, match=re.escape(words)):
        play()


def test_no_first_observation_is_in_two_splits_if_they_are_divided_by_it(make: Make) -> None:
    # Taxi has 300 first states under all seeds.
    world = make(id="Taxi-v4", observation="json", divide="observation")
    seen = {}
    for split, num_tasks in (("train", 150), ("held_in_test", 30)):
        tasks = world.tasks(split, num_tasks, 0)
        assert tasks[:20] == world.tasks(split, 20, 0)
        seen[split] = {world.reset(task)[0].content for task in tasks}
        assert len(seen[split]) == num_tasks
        assert not any("Tasks may" in note for note in world.notes(split))
    assert not seen["train"] & seen["held_in_test"]
    lake = make(id="FrozenLake-v1", observation="render", divide="observation")
    held = 0
    for split in ("train", "held_in_test"):
        with contextlib.suppress(ConfigError):
            held += len(lake.tasks(split, 1, 0))
    assert held == 1
