"""The tasks: the variations of 30 kinds, in the package's own splits and in the paper's order.

The paper's item ids count the variations of 23 of the kinds, in the order of the table. The order
and the numbers are those of `scienceworld` 1.2.3; a test compares them with the package.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.paper.item_files import item_number
from atlas.environments.paper.items import PAPER_TEST, PAPER_TRAIN, PaperItems
from atlas.environments.scienceworld.config import Kind, ScienceWorldConfig
from atlas.environments.splits import check_split, too_few
from atlas.errors import EpisodeError
from atlas.records import Task

WORLD, PREFIX = "scienceworld", "sciworld_"
KNOWN_LEAK = "61 of the 200 tasks of AgentEval (paper_test) are also in AgentTraj"
# kind -> the number of its variations.
VARIATIONS: dict[Kind, int] = {
    "boil": 30,
    "melt": 30,
    "freeze": 30,
    "change-the-state-of-matter-of": 30,
    "use-thermometer": 540,
    "measure-melting-point-known-substance": 436,
    "measure-melting-point-unknown-substance": 300,
    "power-component": 20,
    "power-component-renewable-vs-nonrenewable-energy": 20,
    "test-conductivity": 900,
    "test-conductivity-of-unknown-substances": 600,
    "find-living-thing": 300,
    "find-non-living-thing": 300,
    "find-plant": 300,
    "find-animal": 300,
    "grow-plant": 126,
    "grow-fruit": 126,
    "chemistry-mix": 32,
    "chemistry-mix-paint-secondary-color": 36,
    "chemistry-mix-paint-tertiary-color": 36,
    "lifespan-longest-lived": 125,
    "lifespan-shortest-lived": 125,
    "lifespan-longest-lived-then-shortest-lived": 125,
    "identify-life-stages-1": 14,
    "identify-life-stages-2": 10,
    "inclined-plane-determine-angle": 168,
    "inclined-plane-friction-named-surfaces": 1386,
    "inclined-plane-friction-unnamed-surfaces": 162,
    "mendelian-genetics-known-plant": 120,
    "mendelian-genetics-unknown-plant": 480,
}
# Test variations with the first text of a training variation; they are left out. A beginning of the
# name of a kind -> its variations, as `python benchmarks/science_starts.py` finds them.
_FIND = (243, 246, 250, 251, 252, 253, 259, 272, 282, 289, 293)
_LIFESPAN = (
    93,
    94,
    95,
    97,
    99,
    100,
    102,
    103,
    104,
    106,
    109,
    111,
    112,
    113,
    115,
    120,
    121,
    123,
    124,
)
SAME_START: dict[str, tuple[int, ...]] = {
    "find-": _FIND,
    "lifespan-": _LIFESPAN,
    "inclined-plane-determine-angle": (150,),
    "mendelian-genetics-known-plant": (92, 100, 102, 105, 112),
}
# Kinds that the paper's environment leaves out.
NOT_IN_PAPER = ("grow-", "inclined-plane-", "mendelian-genetics-")
# AgentGym numbers the variations of these, one kind after the other (scienceworld 1.2.3).
PAPER_VARIATIONS = {
    kind: size for kind, size in VARIATIONS.items() if not kind.startswith(NOT_IN_PAPER)
}
# The number of tasks that item ids count.
NUM_PAPER = sum(PAPER_VARIATIONS.values())
OWN_SPLITS = ("train", "held_in_test", "held_out_test")


def paper_variation(number: int) -> tuple[Kind, int] | None:
    """Kind and variation of an item of the paper: 30 -> (melt, 0); None if there is none."""
    for kind, size in PAPER_VARIATIONS.items():
        if 0 <= number < size:
            return kind, number
        number -= size
    return None


def own_variations(kind: Kind, split: str) -> Sequence[int]:
    """The variations of a kind in train or test: the package's halves and last quarters.

    Test variations that begin like a training variation are left out.
    """
    size = VARIATIONS[kind]
    quarter = size // 4
    if split == "train":
        return list(range(2 * quarter))
    same = [v for start, found in SAME_START.items() if kind.startswith(start) for v in found]
    return [variation for variation in range(3 * quarter, size) if variation not in same]


class ScienceTasks:
    """The tasks of one environment with its settings."""

    def __init__(self, config: ScienceWorldConfig) -> None:
        self._config = config
        self._items = PaperItems(
            WORLD,
            PREFIX,
            size=NUM_PAPER,
            agenttraj=config.agenttraj,
            agenteval=config.agenteval,
            drop_leaked=config.drop_leaked,
            known_leak=KNOWN_LEAK,
        )

    def draw(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split; its own splits take the kinds in turn.

        Args:
            seed: determines where in the variations of a kind the tasks start.
        """
        kinds = self._config.held_out_kinds if split == "held_out_test" else self._config.kinds
        known = [name for name in OWN_SPLITS if name != "held_out_test" or kinds]
        check_split(WORLD, split, (*known, PAPER_TRAIN, PAPER_TEST))
        if split in (PAPER_TRAIN, PAPER_TEST):
            return [_paper_task(number, split) for number in self._items.take(split, num_tasks)]
        tasks: list[Task] = []
        sizes = [self._variations(kind, split) for kind in kinds]
        for index in range(max(map(len, sizes))):
            for kind, variations in zip(kinds, sizes, strict=True):
                if index < len(variations):
                    variation = variations[(seed * 7 + index) % len(variations)]
                    tasks.append(self._own_task(kind, variation, split))
                if len(tasks) == num_tasks:
                    return tasks
        if num_tasks > len(tasks):
            raise too_few(WORLD, split, num_tasks, len(tasks))
        return tasks[:num_tasks]

    def notes(self, split: str) -> Sequence[str]:
        """What to know of leaks: between the paper's splits, and with its own ones."""
        notes = self._items.notes(split)
        if split == PAPER_TEST and self._config.agenteval is not None:
            found = [paper_variation(number) for number in self._items.numbers(split)]
            own = {(kind, v) for kind in self._config.kinds for v in own_variations(kind, "train")}
            if shared := sum(one in own for one in found):
                notes.append(f"{WORLD}: {shared} of the {len(found)} tasks of {split} are in train")
        if split in OWN_SPLITS[1:] and self._config.agenttraj and not self._config.drop_leaked:
            names = self._config.kinds if split == OWN_SPLITS[1] else self._config.held_out_kinds
            own = {(kind, v) for kind in names for v in own_variations(kind, split)}
            if shared := len(own & self._of_paper()):
                count = f"{shared} of the {len(own)} tasks of {split} are also in {PAPER_TRAIN}"
                notes.append(f"{WORLD}: {count}; drop_leaked=true leaves them out")
        return notes

    def _variations(self, kind: Kind, split: str) -> Sequence[int]:
        """The variations of a kind in an own split, without leaked ones if that is asked for."""
        found = own_variations(kind, split)
        if split == "train" or not self._config.drop_leaked:
            return found
        leaked = self._of_paper()
        return [variation for variation in found if (kind, variation) not in leaked]

    def _of_paper(self) -> set[tuple[Kind, int] | None]:
        """Kind and variation of the tasks of paper_train."""
        return {paper_variation(number) for number in self._items.numbers(PAPER_TRAIN)}

    def _own_task(self, kind: Kind, variation: int, split: str) -> Task:
        simplifications = ",".join(sorted(self._config.simplifications)) or "plain"
        return Task(
            id=f"{WORLD}/{kind}/{simplifications}/{variation}",
            environment=WORLD,
            group=kind,
            split=split,
            seed=variation,
        )


def parse_task(task: Task) -> tuple[str, int, str]:
    """Kind, variation and simplifications of a task.

    Raises:
        EpisodeError: the task is not one of this world.
    """
    if (number := item_number(task.id, PREFIX)) is not None:
        if (found := paper_variation(number)) is not None:
            return *found, ""
    else:
        parts = task.id.split("/")
        if (
            len(parts) == 4
            and parts[0] == WORLD
            and parts[1] in VARIATIONS
            and parts[3].isdecimal()
        ):
            return parts[1], int(parts[3]), parts[2].removeprefix("plain")
    raise EpisodeError(
        f"task '{task.id}' is not known, expected {PREFIX} and a number below {NUM_PAPER}, or an "
        f"id such as {WORLD}/boil/plain/3."
    )


def _paper_task(number: int, split: str) -> Task:
    kind, variation = paper_variation(number) or (None, None)
    if kind is None:
        raise EpisodeError(f"'{PREFIX}{number}' is not an item of {WORLD}")
    return Task(id=f"{PREFIX}{number}", environment=WORLD, group=kind, split=split, seed=variation)
