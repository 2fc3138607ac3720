"""Which tasks a server has, and which of them a split holds: `split -> numbers of tasks`.

The ids of AgentTraj and AgentEval end in the number that the server takes, with two exceptions.
The training games of ALFWorld are named, and AgentGym's mapping file numbers them. In TextCraft a
number means whatever goal the server's order of files puts there, so a task with a known goal is
looked up by its goal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from atlas.environments.agentgym.config import AgentGymConfig
from atlas.environments.agentgym.servers import (
    BABYAI_LEVELS,
    SERVERS,
    GymServer,
)
from atlas.environments.scienceworld.tasks import PAPER_VARIATIONS
from atlas.errors import ConfigError, EpisodeError
from atlas.records import Task

_RANGES = re.compile(r"\s*\d{1,9}(?:\s*-\s*\d{1,9})?(?:\s*,\s*\d{1,9}(?:\s*-\s*\d{1,9})?)*\s*")
_GOAL = re.compile(r"Goal: craft (.+?)\.?\s*$")
MAX_ITEMS = 1_000_000


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


def items_of_ranges(text: str) -> list[int]:
    """The numbers that a text such as `0-3,7` names.

    >>> items_of_ranges("0-3,7")
    [0, 1, 2, 3, 7]
    """
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        start, end = int(first), int(last or first)
        if end < start or len(found) + end - start >= MAX_ITEMS:
            raise ConfigError(
                f"agentgym: '{part.strip()}' is not a range of at most {MAX_ITEMS:,} numbers."
            )
        found += range(start, end + 1)
    return list(dict.fromkeys(found))


class GymItems:
    """The tasks of the server that the settings name."""

    def __init__(self, config: AgentGymConfig) -> None:
        self._config = config
        self._server: GymServer = SERVERS[config.server]
        self.num_repeated: dict[str, int] = {}

    def known(self, split: str) -> list[GymItem] | None:
        """The tasks of `paper_train` or `paper_test`, or of a split of the server, if known."""
        given = {"paper_train": self._config.agenttraj, "paper_test": self._config.agenteval}
        text = given.get(split) or self._server.splits.get(split)
        if text is None:
            return None
        if _RANGES.fullmatch(text):
            return self._playable(self.item(number) for number in items_of_ranges(text))
        key = "agenttraj" if split == "paper_train" else "agenteval"
        found = list(self._of_file(Path(text), key))
        unique = {item.number: item for item in reversed(found)}
        self.num_repeated[split] = len(found) - len(unique)
        return self._playable(unique[number] for number in dict.fromkeys(i.number for i in found))

    def _playable(self, items: Iterable[GymItem]) -> list[GymItem]:
        return [item for item in items if item.number not in self._server.unplayable]

    def all(self) -> list[GymItem]:
        """All tasks of the server, if their number is known."""
        text = self._server.items
        return [] if text is None else [self.item(number) for number in items_of_ranges(text)]

    def item(self, number: int, goal: str | None = None) -> GymItem:
        """A task with its kind."""
        return GymItem(f"{self._server.item_prefix}{number}", number, self._group(number), goal)

    def number_of(self, task: Task) -> int:
        """The number of a task, from its id, or from its seed where the id has a name.

        Raises:
            EpisodeError: it is not a task of this server.
        """
        number = task.id.removeprefix(self._server.item_prefix)
        if number != task.id and number.isdecimal() and len(number) <= 9:
            return int(number)
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

    def _of_file(self, path: Path, key: str) -> Iterator[GymItem]:
        where = f"agentgym: {key}={path}"
        rows = _read_json(path, where)
        if not isinstance(rows, list) or not rows:
            raise ConfigError(f"{where}: expected a JSON list of objects with 'item_id'.")
        mapping: Mapping[str, int] | None = None
        for index, row in enumerate(rows):
            item_id = row.get("item_id") if isinstance(row, dict) else None
            if not isinstance(item_id, str):
                raise ConfigError(f"{where}: row {index} has no text 'item_id'.")
            prefix = self._server.item_prefix
            is_named = self._config.server == "alfworld" and "_trial_" in item_id
            if is_named:
                mapping = self._games() if mapping is None else mapping
                if item_id not in mapping:
                    raise ConfigError(f"{where}: row {index}: '{item_id}' is not in the mapping.")
                yield GymItem(item_id, mapping[item_id], item_id.partition("-")[0])
                continue
            number = item_id.removeprefix(prefix)
            if not item_id.startswith(prefix) or not number.isdecimal() or len(number) > 9:
                raise ConfigError(
                    f"{where}: row {index}: '{item_id}' is not a task of {self._config.server}, "
                    f"expected '{prefix}' and a number."
                )
            yield self.item(int(number), self._goal_of(row))

    def _goal_of(self, row: Mapping[str, Any]) -> str | None:
        """The goal in a trajectory of TextCraft."""
        turns = row.get("conversations")
        if self._config.server != "textcraft" or not isinstance(turns, list):
            return None
        texts = (turn.get("value") for turn in turns[:4] if isinstance(turn, dict))
        goals = (goal_in(text) for text in texts if isinstance(text, str))
        return next(filter(None, goals), None)

    def _games(self) -> dict[str, int]:
        path = self._config.alfworld_mapping
        if path is None:
            raise ConfigError(
                "agentgym: AgentTraj names the games of ALFWorld. Give the file that numbers them, "
                "agentenv-alfworld/configs/mappings_train.json of AgentGym, as alfworld_mapping=…"
            )
        where = f"agentgym: alfworld_mapping={path}"
        rows = _read_json(path, where)
        try:
            return {f"{row['task_type']}_{row['task_id']}": int(row["item_id"]) for row in rows}
        except (TypeError, KeyError, ValueError):
            raise ConfigError(
                f"{where}: expected a JSON list of objects with task_type, task_id and item_id."
            ) from None


def _read_json(path: Path, where: str) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{where}: cannot be read: {error.strerror}. Give a file, or numbers such as 0-99."
        ) from None
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{where}: is not JSON: {error}.") from None


def numbers_of(*parts: list[GymItem] | None) -> set[int]:
    """The numbers of several lists of tasks."""
    return {item.number for item in chain.from_iterable(part or () for part in parts)}
