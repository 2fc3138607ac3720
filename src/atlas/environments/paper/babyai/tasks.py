"""AgentGym's levels of BabyAI, and their tasks.

The item number n of AgentGym is level `n % 40 + 1` with seed `n // 40`. AgentTraj has 45 tasks of
each of 18 levels, AgentEval 5 of the same levels, with other seeds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from atlas.environments.paper.babyai.config import BabyAIAgentGymConfig
from atlas.environments.paper.babyai.sight import see
from atlas.environments.paper.item_files import item_number
from atlas.environments.paper.items import PAPER_TEST, PAPER_TRAIN, PaperItems
from atlas.environments.splits import SEED_STRIDE, SHARES, check_split, draw_tasks, split_of
from atlas.errors import EpisodeError
from atlas.records import Task

WORLD, PREFIX = "babyai-agentgym", "babyai_"
# AgentGym's levels 1 to 40, as registered by minigrid: BabyAI-GoToRedBallGrey-v0.
LEVELS: tuple[str, ...] = (
    *("GoToRedBallGrey", "GoToRedBall", "GoToRedBallNoDists", "GoToObjS6", "GoToLocalS8N7"),
    *("GoToObjMazeS7", "GoToImpUnlock", "GoToSeqS5R2", "GoToRedBlueBall", "GoToDoor"),
    *("GoToObjDoor", "Open", "OpenRedDoor", "OpenDoorLoc", "OpenRedBlueDoorsDebug"),
    *("OpenDoorsOrderN4Debug", "Pickup", "UnblockPickup", "PickupLoc", "PickupDistDebug"),
    *("PickupAbove", "PutNextLocalS6N4", "PutNextS7N4Carrying", "Unlock", "UnlockLocalDist"),
    *("KeyInBox", "UnlockPickupDist", "BlockedUnlockPickup", "UnlockToUnlock", "ActionObjDoor"),
    *("FindObjS7", "KeyCorridorS6R3", "OneRoomS20", "MoveTwoAcrossS8N9", "SynthS5R2"),
    *("SynthLoc", "SynthSeq", "MiniBossLevel", "BossLevel", "BossLevelNoUnlock"),
)
# In the minigrid of AgentGym (below 2.5) GoToObjS6 has rooms of size 4, a fault that later versions
# fixed by a new name: so the level of AgentTraj is today's GoToObjS4.
REGISTERED = {"GoToObjS6": "GoToObjS4"}
# The levels of AgentTraj and AgentEval.
PAPER_LEVELS: tuple[str, ...] = (*LEVELS[:11], *LEVELS[18:21], "ActionObjDoor", "FindObjS7")
PAPER_LEVELS = (*PAPER_LEVELS, "OneRoomS20", "SynthLoc")
# Of these, the ones that minigrid's bot finishes within the paper's 20 turns.
TRAIN_LEVELS: tuple[str, ...] = tuple(
    level
    for level in PAPER_LEVELS
    if level not in ("GoToObjMazeS7", "GoToImpUnlock", "FindObjS7", "OneRoomS20", "SynthLoc")
)
# Putting things down, keys, and doors: of AgentTraj's levels only ActionObjDoor asks to open one.
HELD_OUT_LEVELS: tuple[str, ...] = (
    *("OpenRedDoor", "OpenDoorLoc", "OpenRedBlueDoorsDebug", "PutNextLocalS6N4"),
    *("UnlockLocalDist", "UnlockPickupDist"),
)
LEVELS_OF: dict[str, tuple[str, ...]] = {
    "train": TRAIN_LEVELS,
    "held_in_test": TRAIN_LEVELS,
    "held_out_test": HELD_OUT_LEVELS,
}
# Generated tasks begin here; the paper's seeds end below 400.
FIRST_SEED = 1_000_000
STRIDE = 10_000_019


class BabyAITasks:
    """The tasks of one environment with its settings."""

    def __init__(self, config: BabyAIAgentGymConfig) -> None:
        self._drop_leaked = config.drop_leaked
        self._items = PaperItems(
            WORLD,
            PREFIX,
            agenttraj=config.agenttraj,
            agenteval=config.agenteval,
            drop_leaked=config.drop_leaked,
        )

    def draw(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split; a test task never has the first text of a training task."""
        check_split(WORLD, split, (*LEVELS_OF, PAPER_TRAIN, PAPER_TEST))
        if split in (PAPER_TRAIN, PAPER_TEST):
            numbers = self._items.take(split, num_tasks)
            return [paper_task(number, split) for number in numbers]
        leaked: set[str] = set()
        if self._drop_leaked and split != "train":
            recorded = (paper_task(number, split) for number in self._items.numbers(PAPER_TRAIN))
            leaked = {_content(task) for task in recorded}
        # A level of held_out_test may begin as one of training does, so it is divided, too.
        wanted = "train" if split == "train" else "held_in_test"

        def belongs(content: str) -> bool:
            return split_of(content, SHARES) == wanted and content not in leaked

        return draw_tasks(WORLD, split, num_tasks, _candidates(split, seed), belongs)

    def notes(self, split: str) -> Sequence[str]:
        if split in ("held_in_test", "held_out_test") and not self._drop_leaked:
            return [
                f"{WORLD}: small rooms of {split} can be the same as in AgentTraj; agenttraj=PATH "
                "drop_leaked=true leaves them out"
            ]
        return self._items.notes(split)


def paper_task(number: int, split: str) -> Task:
    """The task of an item number."""
    return Task(
        id=f"{PREFIX}{number}",
        environment=WORLD,
        group=LEVELS[number % len(LEVELS)],
        split=split,
        seed=number // len(LEVELS),
    )


def make_paper_level(task: Task) -> tuple[Any, Any]:
    """The minigrid environment of a task, reset with its seed, and its first image.

    The id of an item of AgentGym is enough: `babyai_12`.
    """
    level, seed = task.group, task.seed
    if (number := item_number(task.id, PREFIX)) is not None:
        level, seed = LEVELS[number % len(LEVELS)], number // len(LEVELS)
    if level not in LEVELS or seed is None:
        raise EpisodeError(
            f"task '{task.id}' has level '{level}' and seed {seed}, expected an item id such as "
            f"{PREFIX}12, or a level and a seed. Known: {', '.join(LEVELS)}."
        )
    # minigrid imports pygame, which prints a greeting.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import gymnasium
    import minigrid  # noqa: F401
    from minigrid.envs.babyai.core import roomgrid_level

    # Upstream prints every rejected sample.
    roomgrid_level.print = lambda *_: None
    name = f"BabyAI-{REGISTERED.get(level, level)}-v0"
    world: Any = gymnasium.make(name, disable_env_checker=True).unwrapped
    observation, _ = world.reset(seed=seed)
    return world, observation["image"]


def _candidates(split: str, seed: int) -> Iterator[tuple[str, Task]]:
    """(first text, task), one level after the other."""
    levels = LEVELS_OF[split]
    number = 0
    while True:
        round_, index = divmod(number, len(levels))
        level, own_seed = levels[index], FIRST_SEED + (seed * SEED_STRIDE + round_) % STRIDE
        name = f"{WORLD}/{level}/{own_seed}"
        task = Task(id=name, environment=WORLD, group=level, split=split, seed=own_seed)
        yield _content(task), task
        number += 1


def _content(task: Task) -> str:
    """The goal and the first sight of a task."""
    world, image = make_paper_level(task)
    return f"{world.mission}\n{see(world, image).text}"
