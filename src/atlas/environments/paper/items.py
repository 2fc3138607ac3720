"""The paper's tasks by the item ids of AgentTraj (training) and AgentEval (test).

An item id is a prefix and a number: `babyai_12`, `lmrlgym_maze_7`. Where the numbers are a short
fact they stand in the table of a world, else they are read from a file that the user has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from atlas.environments.splits import take_tasks
from atlas.errors import AtlasError, ConfigError
from atlas.records import Task
from atlas.store.readers import read_trajectories

PAPER_TRAIN, PAPER_TEST = "paper_train", "paper_test"
AGENTTRAJ_HELP = (
    "AgentTraj's file of this world, or the run folder of its import: its item ids are the split"
    " paper_train"
)
AGENTEVAL_HELP = "AgentEval's file of this world: its item ids are the split paper_test"
DROP_LEAKED_HELP = "leave what is also in AgentTraj (paper_train) out of the test splits"


def item_number(item_id: str, prefix: str) -> int | None:
    """The number in an item id of one world: `babyai_12` -> 12; None for other ids."""
    found = re.fullmatch(rf"{re.escape(prefix)}([0-9]{{1,9}})", item_id)
    return int(found[1]) if found else None


def read_items(path: str, prefix: str, setting: str) -> list[Any]:
    """The items of one world: JSON objects of a file, or trajectories of a run folder, in order.

    Raises:
        ConfigError: the file or folder cannot be used, or has no such item.
    """
    where = f"{setting}={path}"
    source = Path(path)
    items: Iterable[Any]
    try:
        if source.is_dir():
            items = list(read_trajectories(source))
        else:
            items = json.loads(source.read_text(encoding="utf-8"))
    except AtlasError as error:
        raise ConfigError(f"{where}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = f"cannot be read as JSON ({error})"
        raise ConfigError(f"{where}: {reason}. Expected AgentGym's file of this world.") from None
    listed = items if isinstance(items, list) else []
    found = [item for item in listed if item_number(id_of_item(item), prefix) is not None]
    if not found:
        expected = f"expected a list of objects whose item_id begins with '{prefix}'"
        raise ConfigError(f"{where}: it has no task of this world, {expected}.")
    return found


def id_of_item(item: Any) -> str:
    """The item id of a JSON object of AgentGym, or of a trajectory of its import."""
    if isinstance(item, dict):
        return str(item.get("item_id", ""))
    task = getattr(item, "task", None)
    return task.id if isinstance(task, Task) else ""


class PaperItems:
    """The numbers of the tasks of paper_train and paper_test.

    Args:
        prefix: what the item ids of the world begin with.
        train, test: the numbers, where they are a short fact.
        agenttraj, agenteval: the files that have them; they take precedence.
        known_leak: what is known of the leak without AgentTraj's file.
    """

    def __init__(
        self,
        world: str,
        prefix: str,
        *,
        train: Sequence[int] | None = None,
        test: Sequence[int] | None = None,
        agenttraj: str | None = None,
        agenteval: str | None = None,
        drop_leaked: bool = False,
        known_leak: str | None = None,
    ) -> None:
        self.prefix = prefix
        self._world = world
        self._drop_leaked = drop_leaked
        self._known_leak = known_leak
        self._paths = {PAPER_TRAIN: agenttraj, PAPER_TEST: agenteval}
        self._listed = {PAPER_TRAIN: train, PAPER_TEST: test}
        self._numbers: dict[str, list[int]] = {}

    def numbers(self, split: str) -> list[int]:
        """The numbers of a split, each once, in the order of the file.

        Raises:
            ConfigError: they are in a file that is not given.
        """
        found = self._all(split)
        if split == PAPER_TEST and self._drop_leaked:
            known = set(self._all(PAPER_TRAIN))
            return [number for number in found if number not in known]
        return found

    def take(self, split: str, num_tasks: int) -> list[int]:
        """The first numbers of a split; ConfigError if there are fewer."""
        return take_tasks(self._world, split, num_tasks, self.numbers(split))

    def notes(self, split: str) -> list[str]:
        """What to know of the leak between the splits."""
        if split != PAPER_TEST:
            return []
        try:
            leaked = set(self._all(PAPER_TRAIN)) & set(self._all(PAPER_TEST))
        except ConfigError:
            if self._known_leak is None:
                return []
            advice = "name AgentTraj's file (agenttraj=…) to find or drop them"
            return [f"{self._world}: {self._known_leak}; {advice}"]
        if not leaked:
            return []
        size = len(self._all(PAPER_TEST))
        done = "left out" if self._drop_leaked else "drop_leaked=true leaves them out"
        count = f"{len(leaked)} of the {size} tasks of {PAPER_TEST}"
        return [f"{self._world}: {count} are also in {PAPER_TRAIN}; {done}"]

    def _all(self, split: str) -> list[int]:
        """The numbers of a split, leaked ones too."""
        if split not in self._numbers:
            self._numbers[split] = list(dict.fromkeys(self._given(split)))
        return self._numbers[split]

    def _given(self, split: str) -> Sequence[int]:
        setting = "agenttraj" if split == PAPER_TRAIN else "agenteval"
        path, listed = self._paths[split], self._listed[split]
        if path is not None:
            items = read_items(path, self.prefix, setting)
            return [number_of(item, self.prefix) for item in items]
        if listed is None:
            name = "AgentTraj" if split == PAPER_TRAIN else "AgentEval"
            raise ConfigError(
                f"{self._world}: the item ids of split '{split}' are in {name}'s file of this "
                f"world, which is not given. Set {setting}=PATH."
            )
        return listed


def number_of(item: Any, prefix: str) -> int:
    """The number of an item of `read_items`."""
    number = item_number(id_of_item(item), prefix)
    assert number is not None
    return number
