"""Environments that show whether they were closed, and one with a split that is slow to list."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from atlas.records import Task
from tests.environments.push import PushConfig, PushEnvironment


class ClosingEnvironment(PushEnvironment):
    """Counts how many of it are open."""

    num_open = 0

    def __init__(self, config: PushConfig) -> None:
        super().__init__(config)
        ClosingEnvironment.num_open += 1

    def close(self) -> None:
        ClosingEnvironment.num_open -= 1


class FileEnvironment(PushEnvironment):
    """Has a file in the folder `word` while it is open."""

    def __init__(self, config: PushConfig) -> None:
        super().__init__(config)
        self.path = Path(config.word) / str(id(self))
        self.path.touch()

    def close(self) -> None:
        self.path.unlink(missing_ok=True)


class SlowSplitEnvironment(PushEnvironment):
    """Takes seconds to list the tasks of one split."""

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        if split == "held_in_test":
            time.sleep(3)
        return super().tasks(split, num_tasks, seed)
