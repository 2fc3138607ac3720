"""The tasks of TextCraft: a goal, and the recipes that are listed for it.

Tasks are keyed by goal. AgentGym's item numbers follow the order of files in a directory, so the
same number is another goal on another disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.experts import stream
from atlas.environments.paper.item_files import item_number, read_items
from atlas.environments.paper.items import PAPER_TEST, PAPER_TRAIN
from atlas.environments.paper.textcraft.recipes import (
    goal_depths,
    id_of,
    recipe_tree,
    recipes_using,
)
from atlas.environments.splits import SHARES, check_split, split_of, take_tasks
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task

WORLD, PREFIX = "textcraft", "textcraft_"
TEST_SPLITS = ("held_in_test", "held_out_test")
SPLITS = ("train", *TEST_SPLITS, PAPER_TRAIN, PAPER_TEST)
# Goals of a greater depth are held out; AgentTraj and AgentEval have goals of every depth.
MAX_DEPTH = 2
# As in AgentGym: recipes listed that do not help, and how many are drawn for one ingredient.
NUM_DISTRACTORS = 10
GOAL_MARK = "Goal: craft "
NUM_AGENTTRAJ = 374


class TextCraftTasks:
    """The tasks of one environment.

    Args:
        agenttraj: the file or run folder with the paper's training tasks.
        drop_leaked: leave their goals out of the test splits.
    """

    def __init__(self, agenttraj: str | None, *, drop_leaked: bool) -> None:
        self._agenttraj = agenttraj
        self._drop_leaked = drop_leaked
        self._recorded: dict[int, tuple[str, str]] | None = None

    def draw(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split, in an order that the seed decides."""
        check_split(WORLD, split, SPLITS)
        goals = self._goals(split)
        if split not in (PAPER_TRAIN, PAPER_TEST):
            stream("order", WORLD, split, seed).shuffle(goals)
        depths = goal_depths()
        numbers = self._numbers() if split == PAPER_TRAIN else {}
        return [
            Task(
                id=f"{PREFIX}{numbers[goal]}" if goal in numbers else f"{WORLD}/{goal}",
                environment=WORLD,
                group=f"depth {depths[goal]}",
                split=split,
                goal=goal,
            )
            for goal in take_tasks(WORLD, split, num_tasks, goals)
        ]

    def notes(self, split: str) -> Sequence[str]:
        """What to know of a split of the paper."""
        if split == PAPER_TEST:
            notes = [
                f"{WORLD}: {split} has the {len(self._goals(split))} goals that AgentTraj lacks. "
                "The 100 ids of AgentEval are among them, but which goal an id means depends on "
                "the server's disk"
            ]
            if (num_read := len(self._numbers())) < NUM_AGENTTRAJ:
                notes.append(
                    f"{WORLD}: agenttraj={self._agenttraj} has {num_read} of the {NUM_AGENTTRAJ} "
                    f"goals of AgentTraj, so {split} holds goals that are in AgentTraj. Name the "
                    "whole file"
                )
            return notes
        if split not in TEST_SPLITS or self._agenttraj is None:
            return []
        known = self._numbers()
        if shared := [goal for goal in self._goals(split) if goal in known]:
            return [
                f"{WORLD}: {len(shared)} goals of {split} are also in AgentTraj; drop_leaked=true "
                "leaves them out"
            ]
        return []

    def start(self, task: Task) -> tuple[str, str]:
        """The goal of a task, and the recipes that are listed: AgentTraj's for its item ids.

        Raises:
            EpisodeError: the task has no goal that can be crafted.
        """
        number = item_number(task.id, PREFIX)
        if number is not None and self._agenttraj is not None:
            goal, commands = self._read().get(number, (None, ""))
            if goal is not None and task.goal in (None, goal):
                return goal, commands
        goal = goal_of(task)
        return goal, draw_commands(goal)

    def _goals(self, split: str) -> list[str]:
        if split == PAPER_TRAIN:
            return list(self._numbers())
        depths = goal_depths()
        if split == PAPER_TEST or (self._drop_leaked and split in TEST_SPLITS):
            known = self._numbers()
            depths = {goal: depth for goal, depth in depths.items() if goal not in known}
        if split == PAPER_TEST:
            return list(depths)
        if split == "held_out_test":
            return [goal for goal, depth in depths.items() if depth > MAX_DEPTH]
        return [
            goal
            for goal, depth in depths.items()
            if depth <= MAX_DEPTH and split_of(goal, SHARES) == split
        ]

    def _numbers(self) -> dict[str, int]:
        """Goal -> the first item number of AgentTraj that has it, in the order of the file."""
        found: dict[str, int] = {}
        for number, (goal, _) in self._read().items():
            found.setdefault(goal, number)
        return found

    def _read(self) -> dict[int, tuple[str, str]]:
        """Item number of AgentTraj -> its goal and listed recipes."""
        if self._recorded is None:
            if self._agenttraj is None:
                raise ConfigError(
                    f"{WORLD}: the goals of AgentTraj divide {PAPER_TRAIN} from {PAPER_TEST}, and "
                    "its file is not given. Set agenttraj=PATH."
                )
            where = f"agenttraj={self._agenttraj}"
            found: dict[int, tuple[str, str]] = {}
            for item in read_items(self._agenttraj, PREFIX, "agenttraj"):
                assert item.number is not None
                goal, commands = _goal_and_commands(item.first_text)
                if goal not in goal_depths():
                    named = f"the goal '{goal:.60}'" if goal else "no goal"
                    expected = f"expected a first observation with '{GOAL_MARK}…', an item to craft"
                    raise ConfigError(f"{where}: {item.id} has {named}, {expected}.")
                other, _ = found.setdefault(item.number, (goal, commands))
                if other != goal:
                    raise ConfigError(f"{where}: {item.id} has two goals, '{other}' and '{goal}'.")
            self._recorded = found
        return self._recorded


def goal_of(task: Task) -> str:
    """The goal of a task.

    Raises:
        EpisodeError: the task names none, or one that cannot be crafted.
    """
    if task.goal is None or task.goal not in goal_depths():
        raise EpisodeError(
            f"{WORLD}: task '{task.id}' has the goal {task.goal!r}, expected an item that can be "
            "crafted. An item id of AgentGym does not say its goal: name AgentTraj's file "
            "(agenttraj=…)"
        )
    return task.goal


def draw_commands(goal: str) -> str:
    """The recipes that lead to `goal`, and others with the same ingredients, in a mixed order."""
    rng = stream("commands", WORLD, goal)
    needed = {recipe.recipe_str: recipe for recipe in recipe_tree(id_of(goal))}
    others: dict[str, None] = {}
    uses = recipes_using()
    for recipe in needed.values():
        for part in recipe.input_items:
            using = uses[part.item_tag.name]
            for other in rng.sample(using, min(len(using), NUM_DISTRACTORS)):
                others[other.recipe_str] = None
    pool = sorted(others.keys() - needed.keys())
    listed = [*needed, *rng.sample(pool, min(len(pool), NUM_DISTRACTORS))]
    rng.shuffle(listed)
    return "\n".join(listed)


def _goal_and_commands(text: str) -> tuple[str, str]:
    """Both are empty in a text without a goal."""
    before, mark, rest = text.rpartition(GOAL_MARK)
    commands = before.partition("Crafting commands:\n")[2].strip("\n")
    return rest.strip().rstrip(".") if mark else "", commands
