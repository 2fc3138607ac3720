"""BabyAI in AgentGym's wording, against what AgentGym's server answers."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("minigrid", reason="the babyai extra is not installed")

from atlas.environments.paper.babyai.config import BabyAIAgentGymConfig
from atlas.environments.paper.babyai.environment import BabyAIAgentGymEnvironment
from atlas.environments.paper.babyai.tasks import (
    HELD_OUT_LEVELS,
    LEVELS,
    PAPER_LEVELS,
    _content,
    paper_task,
)
from atlas.environments.paper.responses import ONLY_ONE_ACTION
from atlas.environments.splits import SHARES, split_of
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Message, Task
from tests.environments.paper_worlds import play, react, steps, write_items

ROOM = (
    "In front of you in this room, you can see several objects: "
    "There is a grey key 1 1 steps in front of you and 1 steps to your left.  "
    "There is a grey ball 1 1 steps in front of you and 1 steps to your right.  "
    "There is a grey key 2 2 steps in front of you and 1 steps to your left.  "
    "There is a grey key 3 2 steps in front of you and 1 steps to your right.  "
    "There is a grey box 1 2 steps in front of you and 2 steps to your right.  "
    "There is a grey ball 2 5 steps in front of you and 1 steps to your right.  "
    "There is a grey key 4 4 steps in front of you and 2 steps to your right.  "
    "There is a red ball 1 4 steps in front of you and 3 steps to your right.  "
    "The room has walls around you. You are facing a wall 6 steps away. "
    "You are not carrying anything."
)
GREY = [
    *("grey key 1", "grey ball 1", "grey key 2", "grey key 3", "grey box 1"),
    *("grey ball 2", "grey key 4", "red ball 1"),
]
ACTIONS = [
    *("turn left", "turn right", "move forward"),
    *(f"{verb} {label}" for verb in ("pickup", "go to") for label in GREY),
    "check available actions",
]


def make(**settings: object) -> BabyAIAgentGymEnvironment:
    return BabyAIAgentGymEnvironment(BabyAIAgentGymConfig(**settings))


def item(number: int) -> Task:
    return Task(id=f"babyai_{number}", environment="babyai")


def test_an_item_id_is_enough_and_the_words_are_those_of_the_server() -> None:
    first, [unknown, listed, last] = play(
        make(), item(0), ["fly", "check available actions", "go to red ball 1"]
    )
    assert first == f"Your goal: go to the red ball\n{ROOM}"
    assert unknown == "The action is not recognized. Please check valid actions."
    assert listed == f"You can take the following actions: {', '.join(ACTIONS)}"
    assert last.endswith("You are not carrying anything.\n The task is completed.")


def test_the_score_is_minigrids_reward() -> None:
    environment = make()
    environment.reset(item(0))
    [result] = steps(environment, ["go to red ball 1"])
    assert (result.score, result.success, result.terminated) == (0.8875, True, True)
    with pytest.raises(EpisodeError, match="over"):
        environment.step(react("turn left"))


def test_available_actions_are_listed_if_asked_for() -> None:
    first, _ = play(make(wording="server"), item(0), [])
    listed = ", ".join(f'"{action}"' for action in ACTIONS)
    assert first == f"Your goal: go to the red ball\n{ROOM}\nAvailable actions: [{listed}]"


def test_go_to_objs6_is_the_small_room_of_agentgyms_minigrid() -> None:
    first, _ = play(make(), item(3), [])
    assert first == (
        "Your goal: go to the blue key\nIn front of you in this room, you can see several objects: "
        "There is a blue key 1 1 steps in front of you and 1 steps to your right.  "
        "The room has walls around you. You are facing a wall 2 steps away. "
        "You are not carrying anything."
    )


def test_two_actions_are_refused_by_the_client_of_2025_only() -> None:
    response = Message(role="assistant", content="Action:\nturn left\nAction:\nturn right")
    environment = make()
    environment.reset(item(0))
    result = environment.step(response)
    assert (result.observation[0].content, result.is_invalid) == (ONLY_ONE_ACTION, True)
    environment = make(client=2024)
    environment.reset(item(0))
    assert not environment.step(response).is_invalid


def test_text_after_the_action_confuses_the_client_of_2024_only() -> None:
    for client, is_invalid in ((2024, True), (2025, False)):
        environment = make(client=client)
        environment.reset(item(0))
        [result] = steps(environment, ["turn left\n\nGreat job!"])
        assert result.is_invalid == is_invalid


def test_opening_a_named_door_counts_only_by_toggle() -> None:
    environment = make()
    doors = [one for one in environment.tasks("held_out_test", 20, 0) if "Door" in one.group]
    assert doors
    for task in doors:
        environment.reset(task)
        expert, result = environment.expert(0), None
        while result is None or not (result.terminated or result.truncated):
            result = environment.step(expert.respond().response)
        assert result.success
        assert result.action == "toggle"


def test_item_numbers_are_levels_and_seeds() -> None:
    assert len(LEVELS) == len(set(LEVELS)) == 40
    task = paper_task(1804, "paper_test")
    assert (task.id, task.group, task.seed) == ("babyai_1804", "GoToLocalS8N7", 45)
    assert len(PAPER_LEVELS) == 18
    assert not set(PAPER_LEVELS) & set(HELD_OUT_LEVELS)


def test_splits_of_the_paper_come_from_its_files(tmp_path: Path) -> None:
    train = write_items(tmp_path / "train.json", ["babyai_0", "babyai_44", "babyai_0", "maze_1"])
    test = write_items(tmp_path / "test.json", ["babyai_44", "babyai_1804"])
    environment = make(agenttraj=train, agenteval=test)
    assert [one.id for one in environment.tasks("paper_train", 2, 0)] == ["babyai_0", "babyai_44"]
    assert [one.id for one in environment.tasks("paper_test", 2, 0)] == ["babyai_44", "babyai_1804"]
    [note] = environment.notes("paper_test")
    assert "1 of the 2 tasks" in note
    environment = make(agenttraj=train, agenteval=test, drop_leaked=True)
    assert [one.id for one in environment.tasks("paper_test", 1, 0)] == ["babyai_1804"]
    with pytest.raises(ConfigError, match="holds 1"):
        environment.tasks("paper_test", 2, 0)


def test_rooms_of_agenttraj_can_be_left_out_of_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The seeds of AgentGym's items, so that the same rooms are drawn.
    monkeypatch.setattr("atlas.environments.paper.babyai.tasks.FIRST_SEED", 0)
    plain = make()
    drawn = plain.tasks("held_in_test", 8, 0)
    ids = [f"babyai_{LEVELS.index(one.group) + 40 * (one.seed or 0)}" for one in drawn[:4]]
    path = write_items(tmp_path / "train.json", ids)
    kept = make(agenttraj=path, drop_leaked=True).tasks("held_in_test", 4, 0)
    assert kept == drawn[4:]
    assert "drop_leaked" in plain.notes("held_in_test")[0]


def test_no_test_task_begins_as_a_training_task_does() -> None:
    for split, share in (("train", "train"), ("held_out_test", "held_in_test")):
        tasks = make().tasks(split, 12, 0)
        assert {split_of(_content(task), SHARES) for task in tasks} == {share}


def test_a_split_of_the_paper_without_its_file_says_which_to_give() -> None:
    with pytest.raises(ConfigError, match="agenteval=PATH"):
        make().tasks("paper_test", 1, 0)


def test_the_description_of_things_is_the_same_for_equal_seeds() -> None:
    environment = make()
    for task in environment.tasks("train", 13, 0):
        assert environment.reset(task) == environment.reset(task)
