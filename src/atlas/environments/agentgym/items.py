"""Which tasks a server has, and which of them a split holds: `split -> numbers of tasks`.

The ids of AgentTraj and AgentEval end in the number that the server takes, with two exceptions.
The training games of ALFWorld are named, and AgentGym's mapping file numbers them. In TextCraft a
number means whatever goal the server's order of files puts there, so a task with a known goal is
looked up by its goal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from atlas.environments.agentgym.config import AgentGymConfig
from atlas.environments.agentgym.servers import (
    BABYAI_LEVELS,
    SERVERS,
    GymServer,
)
from atlas.environments.paper.item_files import (
    item_number,
    numbers_of_ranges,
    read_items,
    read_json,
)
from atlas.environments.scienceworld.tasks import PAPER_VARIATIONS
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task

_GOAL = re.compile(r"Goal: craft (.+?)\.?\s*$")


@dataclass(frozen=True, slots=True)
class GymItem:
    """A task of a server: its id in AgentTraj and AgentEval, its number, kind and goal if known."""

    id: str
    number: int
    group: str = ""
    goal: str | None = None


def goal_in(text: str) -> str | None:
    r"""The item to craft in the first text of a TextCraft task.

    >>> goal_in("Crafting commands:\ncraft 3 bone meal using 1 bone\n\nGoal: craft bone meal.")
    'bone meal'
    """
    match = _GOAL.search(text)
    return match[1] if match else None


class GymItems:
    """The tasks of the server that the settings name."""

    def __init__(self, config: AgentGymConfig) -> None:
        self._config = config
        self._server: GymServer = SERVERS[config.server]
        self.num_repeated: dict[str, int] = {}
        # AgentTraj's goals by number; None before they are needed.
        self._goals: dict[int, str] | None = None

    def known(self, split: str) -> list[GymItem] | None:
        """The tasks of `paper_train` or `paper_test`, or of a split of the server, if known."""
        given = {"paper_train": self._config.agenttraj, "paper_test": self._config.agenteval}
        text = given.get(split) or self._server.splits.get(split)
        if text is None:
            return None
        key = "agenttraj" if split == "paper_train" else "agenteval"
        found = list(self._given(text, key))
        unique = {item.number: item for item in reversed(found)}
        self.num_repeated[split] = len(found) - len(unique)
        return self._playable(unique[number] for number in dict.fromkeys(i.number for i in found))

    def goal_of(self, task: Task) -> str | None:
        """The goal of a task of TextCraft, if it says so itself, or AgentTraj's file does."""
        if task.goal is not None or self._config.server != "textcraft":
            return task.goal
        if self._goals is None:
            train = self.known("paper_train") or []
            self._goals = {item.number: item.goal for item in train if item.goal is not None}
        return self._goals.get(self.number_of(task))

    def _playable(self, items: Iterable[GymItem]) -> list[GymItem]:
        return [item for item in items if item.number not in self._server.unplayable]

    def all(self) -> list[GymItem]:
        """All tasks of the server, if their number is known."""
        text = self._server.items
        numbers = [] if text is None else numbers_of_ranges(text, "agentgym")
        return [self.item(number) for number in numbers]

    def item(self, number: int, goal: str | None = None) -> GymItem:
        """A task with its kind."""
        return GymItem(f"{self._server.item_prefix}{number}", number, self._group(number), goal)

    def number_of(self, task: Task) -> int:
        """The number of a task, from its id, or from its seed where the id has a name.

        Raises:
            EpisodeError: it is not a task of this server.
        """
        number = item_number(task.id, self._server.item_prefix)
        if number is not None:
            return number
        if task.seed is not None and task.environment == f"agentgym_{self._config.server}":
            return task.seed
        raise EpisodeError(
            f"agentgym: task '{task.id}' is not known, expected '{self._server.item_prefix}' and a "
            "number."
        )

    def _group(self, number: int) -> str:
        if self._config.server == "babyai":
            return f"level {number % BABYAI_LEVELS + 1}"
        if self._config.server == "sciworld":
            rest = number
            for name, num_variations in PAPER_VARIATIONS.items():
                if rest < num_variations:
                    return name
                rest -= num_variations
        if self._config.server == "sqlgym":
            return "train databases" if number < 9428 else "dev databases"
        return self._config.server

    def _given(self, text: str, key: str) -> Iterator[GymItem]:
        server = self._server
        items = read_items(
            text,
            server.item_prefix,
            f"agentgym: {key}",
            size=self._size(),
            is_name=lambda item_id: self._config.server == "alfworld" and "_trial_" in item_id,
        )
        if key == "agenttraj" and any(goal_in(item.first_text) for item in items):
            for item in items:
                if goal_in(item.first_text) is None:
                    where = f"agentgym: {key}={text}: {item.id}"
                    raise ConfigError(f"{where} has no goal in its first observation.")
        games = {} if all(item.number is not None for item in items) else self._games()
        for item in items:
            if item.number is not None:
                yield self.item(item.number, goal_in(item.first_text))
            elif item.id in games:
                yield GymItem(item.id, games[item.id], item.id.partition("-")[0])
            else:
                raise ConfigError(f"agentgym: {key}={text}: '{item.id}' is not in the mapping.")

    def _size(self) -> int | None:
        """The numbers of the server's tasks are below it, if it is known."""
        text = self._server.items
        if text is None or self._server.is_open:
            return None
        return 1 + max(int(text.rpartition("-")[2]), *self._server.unplayable, 0)

    def _games(self) -> dict[str, int]:
        path = self._config.alfworld_mapping
        if path is None:
            raise ConfigError(
                "agentgym: AgentTraj names the games of ALFWorld. Give the file that numbers them, "
                "agentenv-alfworld/configs/mappings_train.json of AgentGym, as alfworld_mapping=…"
            )
        where = f"agentgym: alfworld_mapping={path}"
        rows = read_json(path, where)
        try:
            return {f"{row['task_type']}_{row['task_id']}": int(row["item_id"]) for row in rows}
        except (TypeError, KeyError, ValueError):
            raise ConfigError(
                f"{where}: expected a JSON list of objects with task_type, task_id and item_id."
            ) from None


def numbers_of(*parts: list[GymItem] | None) -> set[int]:
    """The numbers of several lists of tasks."""
    return {item.number for item in chain.from_iterable(part or () for part in parts)}
