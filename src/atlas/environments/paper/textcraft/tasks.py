"""The tasks of TextCraft: a goal, and the recipes that are listed for it.

Tasks are keyed by goal. AgentGym's item numbers follow the order of files in a directory, so the
same number is another goal on another disk.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.experts import stream
from atlas.environments.paper.items import (
    PAPER_TEST,
    PAPER_TRAIN,
    id_of_item,
    item_number,
    read_items,
)
from atlas.environments.paper.textcraft.recipes import (
    goal_depths,
    id_of,
    recipe_tree,
    recipes_using,
)
from atlas.environments.splits import SHARES, check_split, split_of, take_tasks
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task, Trajectory

WORLD, PREFIX = "textcraft", "textcraft_"
TEST_SPLITS = ("held_in_test", "held_out_test")
SPLITS = ("train", *TEST_SPLITS, PAPER_TRAIN, PAPER_TEST)
# Goals of a greater depth are held out; AgentTraj and AgentEval have goals of every depth.
MAX_DEPTH = 2
# As in AgentGym: recipes listed that do not help, and how many are drawn for one ingredient.
NUM_DISTRACTORS = 10
GOAL_MARK = "Goal: craft "


class TextCraftTasks:
    """The tasks of one environment.

    Args:
        agenttraj: the file or run folder with the paper's training tasks.
        drop_leaked: leave their goals out of the test splits.
    """

    def __init__(self, agenttraj: str | None, *, drop_leaked: bool) -> None:
        self._agenttraj = agenttraj
        self._drop_leaked = drop_leaked
        self._recorded: dict[str, tuple[str, str]] | None = None

    def draw(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split, in an order that the seed decides."""
        check_split(WORLD, split, SPLITS)
        goals = self._goals(split)
        if split not in (PAPER_TRAIN, PAPER_TEST):
            stream("order", WORLD, split, seed).shuffle(goals)
        depths = goal_depths()
        return [
            Task(
                id=self._id_of(goal, split),
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
            return [
                f"{WORLD}: {split} has the {len(self._goals(split))} goals that AgentTraj lacks. "
                "The 100 ids of AgentEval are among them, but which goal an id means depends on "
                "the server's disk"
            ]
        if split not in TEST_SPLITS or self._agenttraj is None:
            return []
        known = self._read()
        if shared := [goal for goal in self._goals(split) if goal in known]:
            return [
                f"{WORLD}: {len(shared)} goals of {split} are also in AgentTraj; drop_leaked=true "
                "leaves them out"
            ]
        return []

    def commands(self, task: Task) -> str:
        """The recipes that are listed: those of AgentTraj for its tasks, else drawn here."""
        goal = goal_of(task)
        is_item = item_number(task.id, PREFIX) is not None
        if is_item and self._agenttraj is not None and goal in self._read():
            return self._read()[goal][1]
        return draw_commands(goal)

    def _goals(self, split: str) -> list[str]:
        if split == PAPER_TRAIN:
            return list(self._read())
        depths = goal_depths()
        if split == PAPER_TEST or (self._drop_leaked and split in TEST_SPLITS):
            known = self._read()
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

    def _id_of(self, goal: str, split: str) -> str:
        return self._read()[goal][0] if split == PAPER_TRAIN else f"{WORLD}/{goal}"

    def _read(self) -> dict[str, tuple[str, str]]:
        """Goal -> (item id, listed recipes) of AgentTraj."""
        if self._recorded is None:
            if self._agenttraj is None:
                raise ConfigError(
                    f"{WORLD}: the goals of AgentTraj divide {PAPER_TRAIN} from {PAPER_TEST}, and "
                    "its file is not given. Set agenttraj=PATH."
                )
            self._recorded = {}
            for item in read_items(self._agenttraj, PREFIX, "agenttraj"):
                if (found := _goal_and_commands(_first_text(item))) is not None:
                    goal, commands = found
                    self._recorded[goal] = id_of_item(item), commands
            unknown = sorted(self._recorded.keys() - goal_depths().keys())
            if not self._recorded or unknown:
                what = f"'{unknown[0]}'" if unknown else "no goal"
                expected = f"expected first observations with '{GOAL_MARK}…', an item of textcraft"
                raise ConfigError(f"agenttraj={self._agenttraj}: it names {what}, {expected}.")
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


def _first_text(item: object) -> str:
    """The first observation of an item of AgentTraj, or of a trajectory of its import."""
    if isinstance(item, Trajectory):
        return "\n".join(message.content for message in item.steps[0].observation)
    turns = item.get("conversations") if isinstance(item, dict) else None
    values = [turn.get("value", "") for turn in turns or () if isinstance(turn, dict)]
    return values[2] if len(values) > 2 and isinstance(values[2], str) else ""


def _goal_and_commands(text: str) -> tuple[str, str] | None:
    _, mark, rest = text.rpartition(GOAL_MARK)
    if not mark:
        return None
    before = text[: -len(mark) - len(rest)]
    commands = before.partition("Crafting commands:\n")[2].strip("\n")
    return rest.strip().rstrip("."), commands
