"""Games that are generated from what the package ships: a task is a kind, a size and a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from atlas.environments.alfworld.rooms import LOOK, TWO, Size, draw_room
from atlas.environments.splits import check_split, draw_tasks, kinds_in_turn, split_of
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task

TRAINED: tuple[tuple[str, Size], ...] = (
    ("pick_and_place_simple", "small"),
    (LOOK, "small"),
    ("pick_clean_then_place_in_recep", "small"),
    ("pick_heat_then_place_in_recep", "small"),
)
# Other kinds of task, and larger rooms.
HELD_OUT: tuple[tuple[str, Size], ...] = (
    ("pick_cool_then_place_in_recep", "small"),
    (TWO, "small"),
    ("pick_and_place_simple", "large"),
    (LOOK, "large"),
)
LEVELS = {"train": TRAINED, "held_in_test": TRAINED, "held_out_test": HELD_OUT}
PAPER = ("paper_train", "paper_test")


class GeneratedGames:
    """Endless games; which split a game belongs to depends on its content."""

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split, one of each kind in turn."""
        if split in PAPER:
            raise ConfigError(
                f"alfworld: split '{split}' names games of ALFWorld, which are not generated. "
                "Give their folder with games= and AgentGym's with mappings=."
            )
        check_split("alfworld", split, LEVELS)
        wanted = "train" if split == "train" else "held_in_test"
        return draw_tasks(
            "alfworld",
            split,
            num_tasks,
            _candidates(split, seed),
            lambda content: split_of(content) == wanted,
        )

    def load(self, task: Task) -> dict[str, Any]:
        """The game of a task."""
        for kind, size in (*TRAINED, *HELD_OUT):
            if task.seed is not None and task.id == _id(kind, size, task.seed):
                return draw_room(kind, size, task.seed).game
        raise EpisodeError(
            f"task '{task.id}' is not a generated game, expected alfworld/<size>/<kind>/<seed>. "
            "Set games= to the folder that holds it."
        )

    def notes(self, split: str) -> Sequence[str]:
        """There is nothing to remark."""
        return ()


def _candidates(split: str, seed: int) -> Iterator[tuple[str, Task]]:
    for (kind, size), own_seed in kinds_in_turn(LEVELS[split], seed):
        room = draw_room(kind, size, own_seed)
        task = Task(
            id=_id(kind, size, own_seed),
            environment="alfworld",
            group=kind if size == "small" else f"{kind} ({size} rooms)",
            split=split,
            seed=own_seed,
            goal=room.sentence,
        )
        yield room.content, task


def _id(kind: str, size: str, seed: int) -> str:
    return f"alfworld/{size}/{kind}/{seed}"
