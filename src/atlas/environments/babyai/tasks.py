"""The levels of BabyAI, their splits, and how a level is built.

A task is a level and a seed. Each split has its own range of seeds, so no test task is a training
task. The held-out levels need the same skills in combinations that no training level has.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atlas.environments.splits import SEED_STRIDE
from atlas.errors import ConfigError, EpisodeError
from atlas.lookup import look_up, nearest
from atlas.records import Task

SEEDS_PER_SPLIT = 1_000_000
FIRST_SEED: dict[str, int] = {"train": 0, "held_in_test": 1_000_000, "held_out_test": 2_000_000}
# Effectively turns off the level's limit on primitive moves. The environment limits turns instead.
NEVER = 10**9


@dataclass(frozen=True, slots=True)
class Level:
    """A level: its generator class in minigrid.envs.babyai, and its settings."""

    target: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    held_out: bool = False


GENERATED = "core.levelgen:LevelGen"
TWO_BY_TWO: dict[str, Any] = {
    "room_size": 5,
    "num_rows": 2,
    "num_cols": 2,
    "num_dists": 5,
    "locked_room_prob": 0,
    "locations": False,
    "unblocking": False,
}
TWO_BY_THREE = {**TWO_BY_TWO, "num_cols": 3, "num_dists": 6}
ONE_BY_TWO = {**TWO_BY_TWO, "num_rows": 1}


def _kinds(instruction: str, *actions: str) -> dict[str, Any]:
    return {"action_kinds": list(actions), "instr_kinds": [instruction]}


# Sizes are chosen so that the expert needs 2 to 10 turns on average and a path is easy to read.
# Left out: KeyInBox, which minigrid's bot cannot play, and GoToImpUnlock, which in small mazes
# often locks the key in behind its own door.
LEVELS: dict[str, Level] = {
    "GoToLocal": Level("goto:GoToLocal", {"room_size": 8, "num_dists": 6}),
    "PickupLoc": Level("pickup:PickupLoc", {"room_size": 8}),
    "GoToRooms": Level("goto:GoTo", {"room_size": 5, "num_rows": 2, "num_cols": 3, "num_dists": 6}),
    "PickupRooms": Level(GENERATED, TWO_BY_THREE | _kinds("action", "pickup")),
    "FindObj": Level("other:FindObjS5"),
    "OpenTwoDoors": Level("open:OpenTwoDoors"),
    "UnlockLocal": Level("unlock:UnlockLocal", {"room_size": 8}),
    "UnlockPickup": Level("unlock:UnlockPickup"),
    "PutNextLocal": Level("putnext:PutNextLocal", {"room_size": 6, "num_objs": 4}),
    "PutNextAcross": Level("putnext:PutNext", {"room_size": 5, "objs_per_room": 2}),
    "OpenDoorsOrder": Level("open:OpenDoorsOrder", {"num_doors": 4}, held_out=True),
    "GoToSeq": Level(GENERATED, TWO_BY_TWO | _kinds("seq", "goto"), held_out=True),
    "PutNextRooms": Level(GENERATED, ONE_BY_TWO | _kinds("action", "putnext"), held_out=True),
    "MixedSeq": Level(
        GENERATED, TWO_BY_TWO | _kinds("seq", "goto", "pickup", "open"), held_out=True
    ),
    "KeyCorridor": Level("other:KeyCorridor", {"room_size": 4, "num_rows": 1}, held_out=True),
}


def level_names(split: str) -> tuple[str, ...]:
    """The levels of a split, in the order of the table.

    Raises:
        ConfigError: the split does not exist.
    """
    if split not in FIRST_SEED:
        raise ConfigError(f"babyai: split '{split}' is not known. {nearest(split, FIRST_SEED)}")
    return tuple(
        name for name, level in LEVELS.items() if level.held_out == (split == "held_out_test")
    )


def babyai_tasks(split: str, num_tasks: int, seed: int) -> Sequence[Task]:
    """`num_tasks` different tasks of a split, taken from its levels in turn.

    Args:
        seed: determines where in the split's range of seeds the tasks start.
    """
    names = level_names(split)
    size = len(names) * SEEDS_PER_SPLIT
    if num_tasks > size:
        asked = f"{num_tasks} tasks asked of split '{split}', which holds {size}"
        raise ConfigError(f"babyai: {asked}. Ask for fewer.")
    tasks = []
    for index in range(num_tasks):
        number, level = divmod(index, len(names))
        own_seed = FIRST_SEED[split] + (seed * SEED_STRIDE + number) % SEEDS_PER_SPLIT
        id_, group = f"babyai/{names[level]}/{own_seed}", names[level]
        tasks.append(Task(id=id_, environment="babyai", group=group, split=split, seed=own_seed))
    return tasks


def make_level(task: Task) -> Any:
    """The minigrid environment of a task, reset with its seed."""
    level = LEVELS.get(task.group)
    if level is None or task.seed is None:
        raise EpisodeError(
            f"task '{task.id}' has level '{task.group}' and seed {task.seed}, "
            f"expected a level and a seed. Known: {', '.join(LEVELS)}. The item ids of AgentGym, "
            "such as babyai_12, are tasks of the environment babyai-agentgym"
        )
    # minigrid imports pygame, which prints a greeting.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    from minigrid.envs.babyai.core import roomgrid_level

    # Upstream prints every rejected sample.
    roomgrid_level.print = lambda *_: None
    made = look_up("level", task.group, {task.group: f"minigrid.envs.babyai.{level.target}"})
    world = made(max_steps=NEVER, **level.settings)
    world.reset(seed=task.seed)
    # The image observation is not used. Without it a move takes half the time.
    world.gen_obs = dict
    return world
