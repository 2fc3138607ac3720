"""The tasks that a server offers, found by number or by id."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.environments.checked import list_tasks
from atlas.environments.worlds import Limits, ask_world
from atlas.errors import AtlasError, DataError
from atlas.kinds import Choice
from atlas.records import Task

# Splits that a client may ask for in the life of a server; the names are the client's.
MAX_SPLITS = 16


class OfferedTasks:
    """The first tasks of each split. Those of a split are made when they are first asked for.

    Raises:
        ConfigError: the environment cannot be made, or the default split has fewer tasks.
    """

    def __init__(
        self, environment: Choice, split: str, num_tasks: int, seed: int, limits: Limits
    ) -> None:
        self._environment = environment
        self._default = split
        self._num_tasks = num_tasks
        self._seed = seed
        self._limits = limits
        self._lock = threading.Lock()
        self._tasks: dict[str, Sequence[Task]] = {}
        self._of(split)

    def find(self, asked: Mapping[str, Any], number: int) -> Task:
        """The task that `reset` asks for: `task_id`, or `seed` as a number in the list of a split.

        Args:
            number: the place of the task if neither is given.

        Raises:
            DataError: the task does not exist.
        """
        split = asked.get("split", self._default)
        if not isinstance(split, str):
            raise DataError(f"split is {split!r:.60}, expected a text")
        try:
            tasks = self._of(split)
        except AtlasError as error:
            raise DataError(str(error)) from None
        if (task_id := asked.get("task_id")) is not None:
            found = next((task for task in tasks if task.id == task_id), None)
            if found is None:
                raise DataError(f"split '{split}' has no task {task_id!r:.100}")
            return found
        seed = asked.get("seed")
        seed = number if seed is None else seed
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise DataError(f"seed is {seed!r:.60}, expected a number")
        return tasks[seed % len(tasks)]

    def _of(self, split: str) -> Sequence[Task]:
        if (known := self._tasks.get(split)) is not None:
            # Without the lock, which is held while another split is listed.
            return known
        with self._lock:
            if split not in self._tasks:
                if len(self._tasks) == MAX_SPLITS:
                    raise DataError(f"more than {MAX_SPLITS} splits were asked for")
                self._tasks[split] = ask_world(
                    self._environment,
                    lambda world: list_tasks(world, split, self._num_tasks, self._seed),
                    self._limits,
                )
            return self._tasks[split]
