"""ALFWorld speaks as AgentGym's server does, and its expert plays from what it has read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.environments.alfworld.config import AlfworldConfig
from atlas.environments.alfworld.environment import AlfworldEnvironment
from atlas.environments.alfworld.knowledge import kind_of, read_room
from atlas.environments.react import react_message
from atlas.errors import ConfigError, DependencyError
from atlas.extras import require_extras
from atlas.records import Task


@pytest.fixture(autouse=True)
def installed() -> None:
    try:
        require_extras(("alfworld",))
    except DependencyError as error:
        pytest.skip(str(error))


def make(**settings: object) -> AlfworldEnvironment:
    return AlfworldEnvironment(AlfworldConfig.model_validate(settings))


def act(environment: AlfworldEnvironment, action: str) -> str:
    return environment.step(react_message("", action)).observation[0].content


def write_games(folder: Path, num_games: int) -> None:
    """A folder of games as ALFWorld has it, made of generated ones."""
    from atlas.environments.alfworld.rooms import draw_room

    for seed in range(num_games):
        for part in ("train", "valid_train", "valid_unseen"):
            room = draw_room("pick_and_place_simple", "small", seed)
            path = folder / "json_2.1.1" / part / f"pick_and_place_simple-{seed}" / "trial_T1"
            path.mkdir(parents=True)
            game = room.game | {"solvable": seed != 1}
            (path / "game.tw-pddl").write_text(json.dumps(game))


def test_the_first_observation_lists_the_actions_and_later_ones_do_not() -> None:
    environment = make()
    [message] = environment.reset(environment.tasks("train", 1, 0)[0])
    room, task, actions = message.content.split("\n")
    assert room.startswith("You are in the middle of a room. Looking quickly around you, you see a")
    assert task.startswith("Your task is to: ")
    listed = actions.removeprefix("AVAILABLE ACTIONS: ").split(",")
    assert listed == sorted(listed)
    assert {"inventory", "look"} < set(listed)
    assert "help" not in listed
    said = act(environment, listed[0])
    assert "AVAILABLE ACTIONS" not in said
    assert re.match(r"(On the|The) [a-z]+ \d", said)


def test_what_is_not_possible_gets_the_answer_of_agentgym() -> None:
    environment = make()
    environment.reset(environment.tasks("train", 1, 0)[0])
    for action in ("fly", "take mug 99 from desk 9", "move mug 1 to desk 1"):
        result = environment.step(react_message("", action))
        assert result.observation[0].content == "Nothing happens."
        assert result.is_invalid


def test_a_thing_is_put_with_the_words_of_the_first_release() -> None:
    environment = make()
    environment.reset(environment.tasks("train", 1, 0)[0])
    expert = environment.expert(0)
    results = []
    while not results or not results[-1].terminated:
        results.append(environment.step(expert.respond().response))
    last = results[-1]
    assert last.action is not None
    assert re.fullmatch(r"put (.+) in/on (.+)", last.action)
    assert last.observation[0].content.startswith("You put the ")
    assert (last.success, last.score) == (True, 1.0)


def test_goals_are_read_in_both_wordings_of_each_kind() -> None:
    start = "You are in a room. Looking around, you see a desk 2, and a desk 1.\nYour task is to: "
    for sentence, thing, change, number in (
        ("put some mug on desk", "mug", None, 1),
        ("put a hot mug in desk", "mug", "heat", 1),
        ("cool some mug and put it in desk", "mug", "cool", 1),
        ("find two mug and put them in desk", "mug", None, 2),
        ("examine the mug with the desklamp", "mug", None, 1),
    ):
        known = read_room(f"{start}{sentence}.")
        assert known is not None
        assert known.places == ("desk 2", "desk 1")
        assert (known.goal.thing, known.goal.change, known.goal.number) == (thing, change, number)
    assert read_room(f"{start}dance.") is None


def test_the_expert_takes_only_what_it_has_read_of() -> None:
    environment = make(expert={"detour_rate": 0.5, "mistake_rate": 0.5})
    for task in environment.tasks("held_out_test", 8, 2):
        [first] = environment.reset(task)
        expert, read, over = environment.expert(4), first.content, False
        while not over:
            response = expert.respond().response
            result = environment.step(response)
            over = result.terminated or result.truncated
            taken = re.match(r"take (\w+ \d+) from (\w+ \d+)", result.action or "")
            if taken and not result.is_invalid:
                assert taken[1] in read
                assert taken[2] in first.content
            read += result.observation[0].content


def test_held_out_tasks_are_of_other_kinds_or_in_larger_rooms() -> None:
    environment = make()
    trained = {task.group for task in environment.tasks("train", 40, 0)}
    assert trained == {task.group for task in environment.tasks("held_in_test", 40, 0)}
    assert not trained & {task.group for task in environment.tasks("held_out_test", 40, 0)}


def test_games_of_a_folder_are_found_by_the_names_of_agentgym(tmp_path: Path) -> None:
    write_games(tmp_path, 3)
    rows = [
        {"item_id": 2420 + n, "task_type": f"pick_and_place_simple-{n}", "task_id": "trial_T1"}
        for n in (0, 2, 7)
    ]
    (tmp_path / "mappings_test.json").write_text(json.dumps(rows))
    environment = make(games=tmp_path, mappings=tmp_path)
    tasks = environment.tasks("paper_test", 2, 0)
    assert [task.id for task in tasks] == ["alfworld_2420", "alfworld_2422"]
    assert [task.group for task in tasks] == ["pick_and_place_simple"] * 2
    assert "1 of the 3 games" in environment.notes("paper_test")[0]
    [message] = environment.reset(tasks[1])
    assert "Your task is to: put" in message.content
    # The game that cannot be solved is left out.
    assert len(environment.tasks("train", 2, 0)) == 2
    with pytest.raises(ConfigError, match="holds 2"):
        environment.tasks("train", 3, 0)
    with pytest.raises(ConfigError, match="holds 0"):
        environment.tasks("held_in_test", 1, 0)


def test_a_missing_folder_or_mapping_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"valid_seen.*alfworld-download"):
        make(games=tmp_path).tasks("train", 1, 0)
    with pytest.raises(ConfigError, match="games="):
        make().tasks("paper_test", 1, 0)
    write_games(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"mappings_train.json.*mappings="):
        make(games=tmp_path).tasks("paper_train", 1, 0)


def test_the_process_ends_without_a_crash_after_worlds_were_closed() -> None:
    code = """
from atlas.environments.alfworld.config import AlfworldConfig
from atlas.environments.alfworld.environment import AlfworldEnvironment
for _ in range(3):
    environment = AlfworldEnvironment(AlfworldConfig())
    environment.reset(environment.tasks("train", 1, 0)[0])
    environment.close()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_arguments_of_the_program_are_left_alone() -> None:
    before = list(sys.argv)
    environment = make()
    environment.reset(environment.tasks("train", 1, 0)[0])
    assert sys.argv == before


def test_a_task_of_another_source_is_an_error_of_its_episode() -> None:
    from atlas.errors import EpisodeError

    with pytest.raises(EpisodeError, match="games="):
        make().reset(Task(id="alfworld_2420", environment="alfworld", split="paper_test"))


def test_kinds_are_the_names_without_numbers() -> None:
    assert kind_of("mug 2") == "mug"


def test_no_test_task_differs_from_a_training_task_in_needless_things_only() -> None:
    from atlas.environments.alfworld.rooms import Room, draw_room

    def draw(task: Task) -> Room:
        assert task.seed is not None
        return draw_room(task.id.split("/")[2], "small", task.seed)

    def asked(room: Room) -> object:
        """What the agent reads first, and where the things of the goal are."""
        needed = (room.target, room.lamp)
        placed = [
            (name, room.places[at]) for name, at in (*room.things, *room.lamps) if name[0] in needed
        ]
        return room.sentence, room.places, tuple(placed)

    environment = make()
    known = {asked(draw(task)) for task in environment.tasks("train", 2000, 0)}
    tasks = environment.tasks("held_in_test", 200, 0)
    assert not [task.id for task in tasks if asked(draw(task)) in known]
    assert len({asked(draw(task)) for task in tasks}) == len(tasks)
