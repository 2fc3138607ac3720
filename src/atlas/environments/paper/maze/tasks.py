"""The tasks of the maze: AgentGym's 25 games, and generated mazes.

A game of AgentGym is a start in its one maze. AgentTraj has 11 of them; 10 are among the 25 of
AgentEval. The other one, game 25, begins at the goal: nearly every action solves it, and today's
server refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atlas.environments.experts import stream
from atlas.environments.paper.item_files import item_number
from atlas.environments.paper.items import PAPER_TEST, PAPER_TRAIN, PaperItems
from atlas.environments.paper.maze.config import MazeConfig
from atlas.environments.paper.maze.grid import Maze, Place, double_t, generate, search
from atlas.environments.splits import SHARES, check_split, draw_tasks, split_of
from atlas.errors import EpisodeError
from atlas.records import Task

WORLD, PREFIX = "maze", "lmrlgym_maze_"
# The starts of AgentGym's games 0 to 25.
STARTS: tuple[Place, ...] = (
    *((1, column) for column in (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)),
    *((2, 3), (3, 3), (4, 3), (5, 3), (5, 4), (5, 5), (5, 6), (6, 6), (7, 6)),
    *((5, 7), (5, 8), (5, 9), (4, 9), (3, 9), (2, 9), (8, 6)),
)
TRAIN_GAMES = (*range(13, 23), 25)
TEST_GAMES = tuple(range(25))
# Rows, columns and loops of generated mazes.
Size = tuple[int, int, int]
SIZES: dict[str, tuple[Size, ...]] = {
    "train": ((4, 4, 1), (4, 5, 1), (5, 5, 2)),
    "held_in_test": ((4, 4, 1), (4, 5, 1), (5, 5, 2)),
    "held_out_test": ((6, 6, 2), (5, 8, 3), (7, 7, 3)),
}


class MazeTasks:
    """The tasks of one environment with its settings."""

    def __init__(self, config: MazeConfig) -> None:
        self._items = PaperItems(
            WORLD,
            PREFIX,
            size=len(STARTS),
            train=TRAIN_GAMES,
            test=TEST_GAMES,
            agenttraj=config.agenttraj,
            agenteval=config.agenteval,
            drop_leaked=config.drop_leaked,
        )

    def draw(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split; no first text and search path is in two splits."""
        check_split(WORLD, split, (*SIZES, PAPER_TRAIN, PAPER_TEST))
        if split in (PAPER_TRAIN, PAPER_TEST):
            numbers = self._items.take(split, num_tasks)
            return [
                Task(id=f"{PREFIX}{number}", environment=WORLD, group="double T", split=split)
                for number in numbers
            ]
        # Mazes of two sizes can look the same on the way, so these are divided by content, too.
        wanted = "train" if split == "train" else "held_in_test"
        return draw_tasks(
            WORLD,
            split,
            num_tasks,
            _candidates(split, seed),
            lambda content: split_of(content, SHARES) == wanted,
        )

    def notes(self, split: str) -> Sequence[str]:
        notes = self._items.notes(split)
        if split == PAPER_TRAIN:
            notes.append(f"{WORLD}: {PREFIX}25 begins at the goal, nearly every action solves it")
        return notes


def is_game(task: Task) -> bool:
    """Whether a task is one of AgentGym's games."""
    return item_number(task.id, PREFIX) is not None


def maze_of(task: Task) -> Maze:
    """The maze of a task: an item of AgentGym, or a size and a seed.

    Raises:
        EpisodeError: the task has none, or it is a game that cannot be played.
    """
    if (game := item_number(task.id, PREFIX)) is not None:
        if game >= len(STARTS):
            raise EpisodeError(
                f"{WORLD}: task '{task.id}' is not known, expected {PREFIX}0 to "
                f"{PREFIX}{len(STARTS) - 1}"
            )
        return double_t(STARTS[game])
    sizes = {group_of(size): size for found in SIZES.values() for size in found}
    if task.group not in sizes or task.seed is None:
        raise EpisodeError(
            f"{WORLD}: task '{task.id}' has group '{task.group}' and seed {task.seed}, expected an "
            f"item id such as {PREFIX}7, or a seed and one of {', '.join(sizes)}"
        )
    return generate(stream("maze", task.group, task.seed), *sizes[task.group])


def group_of(size: Size) -> str:
    """The group of the tasks of a size."""
    return f"{size[0]}x{size[1]}"


def _candidates(split: str, seed: int) -> Iterator[tuple[str, Task]]:
    """(first text and search path, task), one size after the other."""
    sizes = SIZES[split]
    number = 0
    while True:
        round_, index = divmod(number, len(sizes))
        group, own_seed = group_of(sizes[index]), seed * 1_000_003 + round_
        name = f"{WORLD}/{group}/{own_seed}"
        task = Task(id=name, environment=WORLD, group=group, split=split, seed=own_seed)
        maze = maze_of(task)
        yield f"{maze.describe(maze.start)}\n{' '.join(search(maze))}", task
        number += 1
