"""BabyAI in words: what is seen, what is done, and that bad text is only ever an observation."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("minigrid", reason="the babyai extra is not installed")

from atlas.environments.babyai.actions import available_actions, parse_action
from atlas.environments.babyai.config import BabyAIConfig
from atlas.environments.babyai.environment import INSTRUCTION, BabyAIEnvironment
from atlas.environments.babyai.tasks import (
    FIRST_SEED,
    LEVELS,
    SEEDS_PER_SPLIT,
    babyai_tasks,
    level_names,
)
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Message, Task

SPLITS = tuple(FIRST_SEED)
LEVEL = st.sampled_from(sorted(LEVELS))
SEED = st.integers(0, SEEDS_PER_SPLIT - 1)


def task_of(level: str, seed: int = 0) -> Task:
    return Task(id=f"babyai/{level}/{seed}", environment="babyai", group=level, seed=seed)


def in_words(action: str) -> str:
    return f"Thought:\nI try.\n\nAction:\n{action}"


def say(action: str) -> Message:
    return Message(role="assistant", content=in_words(action))


def start(level: str, seed: int = 0, max_steps: int = 20) -> tuple[BabyAIEnvironment, str]:
    environment = BabyAIEnvironment(BabyAIConfig(max_steps=max_steps))
    return environment, environment.reset(task_of(level, seed))[0].content


def seed_where(level: str, wanted: str) -> int:
    """The first seed of a level whose first observation matches a pattern."""
    return next(seed for seed in range(500) if re.search(wanted, start(level, seed)[1]))


def test_splits_share_no_task() -> None:
    ids = [
        {task.id for task in babyai_tasks(split, 300, seed)} for split in SPLITS for seed in (0, 1)
    ]
    for split in range(len(SPLITS)):
        others = set().union(*(ids[index] for index in range(len(ids)) if index // 2 != split))
        assert not (ids[2 * split] | ids[2 * split + 1]) & others


@given(split=st.sampled_from(SPLITS), seed=st.integers(0, 10**6), num_tasks=st.integers(1, 60))
def test_seeds_stay_in_the_range_of_their_split_and_tasks_are_distinct(
    split: str, seed: int, num_tasks: int
) -> None:
    tasks = babyai_tasks(split, num_tasks, seed)
    assert len({task.id for task in tasks}) == num_tasks
    assert all(
        FIRST_SEED[split] <= (task.seed or 0) < FIRST_SEED[split] + SEEDS_PER_SPLIT
        for task in tasks
    )


def test_held_out_levels_are_never_trained_on() -> None:
    assert level_names("train") == level_names("held_in_test")
    assert not set(level_names("train")) & set(level_names("held_out_test"))
    assert set(level_names("train")) | set(level_names("held_out_test")) == set(LEVELS)


def test_levels_come_in_turn() -> None:
    names = level_names("train")
    assert [task.group for task in babyai_tasks("train", len(names) + 1, 0)] == [*names, names[0]]


def test_an_unknown_split_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="held_out_test"):
        babyai_tasks("held_out", 1, 0)


def test_more_tasks_than_a_split_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="Ask for fewer"):
        babyai_tasks("train", 10**8, 0)


def test_a_task_of_an_unknown_level_is_an_episode_error() -> None:
    with pytest.raises(EpisodeError, match="GoToMoon"):
        BabyAIEnvironment(BabyAIConfig()).reset(task_of("GoToMoon"))


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_an_episode_is_the_same_each_time(level: str) -> None:
    actions = [
        "turn left",
        "move forward",
        "toggle",
        "go to red ball 1",
        "turn right",
        "pickup blue key",
        "drop",
        "check available actions",
    ]
    texts = []
    for _ in range(2):
        environment, first = start(level, 7)
        texts.append(
            [
                first,
                *(
                    environment.step(say(action)).observation[0].content
                    for action in actions
                    if not environment._success
                ),
            ]
        )
    assert texts[0] == texts[1]


def test_the_instruction_is_short_and_names_every_action() -> None:
    assert len(INSTRUCTION.split()) < 120
    for action in (
        "turn left",
        "turn right",
        "move forward",
        "go to",
        "pickup",
        "drop",
        "toggle",
        "go through",
        "toggle and go through",
    ):
        assert f"- {action}" in INSTRUCTION


def test_the_goal_is_told_once() -> None:
    environment, first = start("GoToLocal")
    assert first.startswith(f"Your goal: {environment.world.mission}.")
    assert "goal" not in environment.step(say("turn left")).observation[0].content


@given(level=LEVEL, seed=SEED)
@settings(max_examples=40, deadline=None)
def test_objects_that_look_the_same_are_numbered_by_distance(level: str, seed: int) -> None:
    environment, _ = start(level, seed)
    objects = environment.view.objects
    for name in {item.name for item in objects}:
        alike = [item for item in objects if item.name == name]
        assert [item.number for item in alike] == list(range(1, len(alike) + 1))
    assert all(a.ahead + abs(a.right) <= b.ahead + abs(b.right) for a, b in pairwise(objects))


@given(
    level=LEVEL,
    seed=SEED,
    turns=st.lists(st.sampled_from(["turn left", "turn right", "move forward"]), max_size=5),
)
@settings(max_examples=40, deadline=None)
def test_places_in_the_view_are_where_things_stand(level: str, seed: int, turns: list[str]) -> None:
    environment, _ = start(level, seed)
    for turn in turns:
        if environment.step(say(turn)).terminated:
            return
    world = environment.world
    (x, y), (dx, dy) = world.agent_pos, world.dir_vec
    for item in environment.view.objects:
        assert (
            world.grid.get(
                int(x + dx * item.ahead - dy * item.right),
                int(y + dy * item.ahead + dx * item.right),
            )
            is item.thing
        )


def test_the_text_stays_short_in_the_fullest_rooms() -> None:
    lengths = [len(start("PickupLoc", seed)[1].split()) for seed in range(40)]
    assert max(lengths) < 110


def test_hidden_objects_are_not_named() -> None:
    environment, text = start("FindObj", 3)
    visible = {item.thing for item in environment.view.objects}
    hidden = [
        thing
        for thing in environment.world.grid.grid
        if thing is not None and thing.type != "wall" and thing not in visible
    ]
    assert hidden
    assert text.count(" 1 (") + text.count(" 2 (") == len(visible)


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("Thought:\nSo.\n\nAction:\ngo to red ball 1", "go to red ball 1"),
        ("Thought: so. Action: Turn Left.", "turn left"),
        ("Action:\nturn left\nAction:\n\n  turn   right  ", "turn right"),
        ("action: `Pick up Blue Key 1`!", "pickup blue key 1"),
        (
            "**Action:** go through red open door 2\nObservation: made up",
            "go through red open door 2",
        ),
        ("I go left.", None),
        ("Action:", None),
        ("Action:\n---\n", None),
        ("", None),
    ],
)
def test_an_action_is_read_tolerantly(response: str, action: str | None) -> None:
    assert parse_action(response) == action


def test_a_response_without_an_action_is_told_the_format() -> None:
    environment, _ = start("GoToLocal")
    result = environment.step(Message(role="assistant", content="I would like to go left."))
    assert result.action is None
    assert result.is_invalid
    assert "Action:" in result.observation[0].content
    assert environment.num_turns == 1


@given(st.lists(st.one_of(st.text(), st.text().map(in_words)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_no_text_makes_a_step_fail(responses: list[str]) -> None:
    environment, _ = start("GoToRooms", 1)
    for response in responses:
        result = environment.step(Message(role="assistant", content=response))
        assert result.observation[0].content
        assert 0 <= result.score <= 1


WORDS = st.sampled_from(
    [
        "go",
        "to",
        "through",
        "toggle",
        "and",
        "pickup",
        "pick up",
        "drop",
        "red",
        "blue",
        "ball",
        "key",
        "box",
        "open",
        "locked",
        "door",
        "1",
        "2",
        "99999",
    ]
)


@given(
    level=LEVEL,
    seed=SEED,
    actions=st.lists(
        st.lists(WORDS, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=12
    ),
)
@settings(max_examples=60, deadline=None)
def test_no_jumble_of_known_words_makes_a_step_fail(
    level: str, seed: int, actions: list[str]
) -> None:
    environment, _ = start(level, seed)
    for action in actions:
        if environment.step(say(action)).terminated:
            return


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("fly to the moon", "no known action"),
        ("go to purple unicorn 3", "you do not see purple unicorn 3"),
        ("drop", "you carry nothing"),
        ("toggle", "no door right in front"),
    ],
)
def test_an_impossible_action_says_why_and_counts_as_a_step(action: str, reason: str) -> None:
    environment, _ = start("GoToLocal")
    before = environment.view.text
    result = environment.step(say(action))
    assert result.is_invalid
    assert result.observation[0].content.startswith("That action is not possible: ")
    assert reason in result.observation[0].content
    assert result.observation[0].content.endswith(before)
    assert environment.num_turns == 1


@given(level=LEVEL, seed=SEED)
@settings(max_examples=25, deadline=None)
def test_every_available_action_works_and_no_other_errand_does(level: str, seed: int) -> None:
    environment, _ = start(level, seed)
    available = available_actions(environment.world, environment.view, environment.seen)
    for action in available:
        copy, _ = start(level, seed)
        result = copy.step(say(action))
        assert not result.is_invalid
        assert not result.observation[0].content.startswith("That action is not possible")
    for label in (item.label for item in environment.view.objects):
        for verb in ("go to", "pickup", "go through", "toggle and go through"):
            if f"{verb} {label}" not in available:
                copy, _ = start(level, seed)
                result = copy.step(say(f"{verb} {label}"))
                assert result.is_invalid
                assert result.observation[0].content.startswith("That action is not possible")


def test_check_available_actions_lists_them() -> None:
    environment, _ = start("GoToLocal")
    result = environment.step(say("check available actions"))
    assert not result.is_invalid
    text = result.observation[0].content
    assert text.startswith("You can: turn left, turn right,")
    assert text.endswith("check available actions.")


def test_going_to_an_object_ends_in_front_of_it() -> None:
    seed = seed_where("PutNextLocal", r"\(3 ahead, 1 (left|right)\)")
    environment, _ = start("PutNextLocal", seed)
    target = next(item for item in environment.view.objects if item.ahead == 3)
    environment.step(say(f"go to {target.label}"))
    assert environment.world.grid.get(*environment.world.front_pos) is target.thing
    assert f"You face {target.name}" in environment.view.text


def test_picking_up_carries_and_dropping_puts_down() -> None:
    environment, _ = start("PutNextLocal", seed_where("PutNextLocal", r"key 1"))
    key = next(item for item in environment.view.objects if item.thing.type == "key")
    picked = environment.step(say(f"pickup {key.label}")).observation[0].content
    assert f"You pick up the {key.name}." in picked
    assert f"You carry a {key.name}." in picked
    dropped = environment.step(say("drop")).observation[0].content
    assert f"You put down the {key.name}." in dropped
    assert "You carry nothing." in dropped


def test_only_one_object_is_carried_at_a_time() -> None:
    environment, _ = start("PutNextLocal", seed_where("PutNextLocal", r"1 \(.*1 \(.*1 \("))
    first, second, *_ = environment.view.objects
    environment.step(say(f"pickup {first.label}"))
    again = environment.view.of(second.thing)
    if again is not None:
        assert (
            "drop it first" in environment.step(say(f"pickup {again.label}")).observation[0].content
        )


def test_a_locked_door_asks_for_its_key() -> None:
    environment, _ = start("UnlockLocal", seed_where("UnlockLocal", "locked door"))
    door = next(item for item in environment.view.objects if item.thing.type == "door")
    text = environment.step(say(f"toggle and go through {door.label}")).observation[0].content
    assert f"locked and you do not carry a {door.thing.color} key" in text


def test_a_door_may_be_named_without_its_state() -> None:
    environment, _ = start("OpenTwoDoors", seed_where("OpenTwoDoors", "closed door 1"))
    door = next(item for item in environment.view.objects if item.thing.type == "door")
    environment.step(say(f"go to {door.thing.color} door 1"))
    assert environment.world.grid.get(*environment.world.front_pos) is door.thing


def test_going_through_a_door_ends_behind_it() -> None:
    environment, _ = start("FindObj", seed_where("FindObj", "closed door 1"))
    door = next(item for item in environment.view.objects if item.thing.type == "door")
    text = environment.step(say(f"toggle and go through {door.label}")).observation[0].content
    assert text.startswith(f"You open the {door.thing.color} door and go through.")
    assert tuple(
        int(value) for value in environment.world.agent_pos - environment.world.dir_vec
    ) in (
        door.cell,
        tuple(environment.world.agent_pos),
    )


def test_success_ends_the_episode_with_a_score_for_the_turns_it_took() -> None:
    environment, _ = start(
        "PickupLoc", seed_where("PickupLoc", r"goal: pick up the (\w+ \w+)\.[^.]*\1 1")
    )
    target = environment.world.mission.removeprefix("pick up the ")
    environment.step(say("check available actions"))
    result = environment.step(say(f"pickup {target} 1"))
    assert result.success
    assert result.terminated
    assert not result.truncated
    assert result.score == result.reward == pytest.approx(1 - 0.9 * 2 / 20)
    assert "The task is completed." in result.observation[0].content


def test_the_last_turn_truncates_and_a_further_one_is_refused() -> None:
    environment, _ = start("GoToRooms", max_steps=3)
    results = [environment.step(say("turn left")) for _ in range(3)]
    assert [result.truncated for result in results] == [False, False, True]
    assert results[-1].score == 0
    with pytest.raises(EpisodeError, match="reset"):
        environment.step(say("turn left"))


def test_nothing_is_printed_while_levels_are_sampled(capfd: pytest.CaptureFixture[str]) -> None:
    for seed in range(30):
        start("GoToLocal", seed)
    assert capfd.readouterr() == ("", "")
