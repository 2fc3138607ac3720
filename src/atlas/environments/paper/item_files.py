"""The tasks of AgentTraj or AgentEval that a user names: by a file, a run, or their numbers.

An item id is a prefix and a number: `babyai_12`, `lmrlgym_maze_7`. A row that cannot be read is an
error: a training task that is skipped would come back as a test task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.environments.instruction import existing_path
from atlas.errors import AtlasError, ConfigError
from atlas.store.readers import read_trajectories

_RANGES = re.compile(
    r"\s*[0-9]{1,9}(\s*-\s*[0-9]{1,9})?(\s*,\s*[0-9]{1,9}(\s*-\s*[0-9]{1,9})?)*\s*"
)
MAX_NUMBERS = 1_000_000
EXPECTED = (
    "a JSON list of objects with 'item_id', a run folder of its import, or numbers as in 0-99,120"
)


@dataclass(frozen=True, slots=True)
class GivenItem:
    """A task that a file, a run or a list of numbers names.

    Attributes:
        number: the number in its id; None for an id that is a name.
        first_text: its first observation, where that was recorded.
    """

    id: str
    number: int | None
    first_text: str = ""


def item_number(item_id: str, prefix: str) -> int | None:
    """The number in an item id of one world: `babyai_12` -> 12; None for other ids."""
    found = re.fullmatch(rf"{re.escape(prefix)}([0-9]{{1,9}})", item_id)
    return int(found[1]) if found else None


def is_ranges(text: str) -> bool:
    """Whether a text is numbers such as `0-3,7`."""
    return _RANGES.fullmatch(text) is not None


def numbers_of_ranges(text: str, where: str) -> list[int]:
    """The numbers that a text such as `0-3,7` names, each once.

    >>> numbers_of_ranges("0-3,7", "agenttraj")
    [0, 1, 2, 3, 7]
    """
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        start, end = int(first), int(last or first)
        if end < start or len(found) + end - start >= MAX_NUMBERS:
            reason = f"'{part.strip()}' is not a range of at most {MAX_NUMBERS:,} numbers"
            raise ConfigError(f"{where}: {reason}.")
        found += range(start, end + 1)
    return list(dict.fromkeys(found))


def read_items(
    value: str,
    prefix: str,
    setting: str,
    *,
    size: int | None = None,
    is_name: Callable[[str], bool] = lambda item_id: False,
) -> list[GivenItem]:
    """The items of one world, in order; a file or a run may also have those of other worlds.

    Args:
        size: the numbers of the world are below it; None: any number is a task.
        is_name: whether an id without a number is a task of the world.

    Raises:
        ConfigError: it cannot be read, a row of it is damaged, or it has no such item.
    """
    where = f"{setting}={value}"
    found: list[GivenItem] = []
    other = ""
    for place, item_id, text in _rows(value, prefix, where):
        number = item_number(item_id, prefix)
        if number is None and not is_name(item_id):
            if item_id.startswith(prefix):
                raise ConfigError(f"{where}: {place}: '{item_id:.60}' has no number.")
            other = other or item_id
            continue
        if number is not None and size is not None and number >= size:
            reason = f"'{item_id}' is not known, expected {prefix}0 to {prefix}{size - 1}"
            raise ConfigError(f"{where}: {place}: {reason}.")
        found.append(GivenItem(item_id, number, text))
    if not found:
        has = f"'{other:.60}' is not a task of this world" if other else "it has no tasks"
        raise ConfigError(f"{where}: {has}, expected ids that begin with '{prefix}'.")
    return found


def _rows(value: str, prefix: str, where: str) -> Iterator[tuple[str, str, str]]:
    """(place, item id, first observation) of each row."""
    path = existing_path(value)
    if path is None and is_ranges(value):
        yield from (("", f"{prefix}{number}", "") for number in numbers_of_ranges(value, where))
    elif path is not None and path.is_dir():
        try:
            for one in read_trajectories(path):
                first = one.steps[0].observation if one.steps else ()
                text = "\n".join(message.content for message in first)
                yield f"trajectory {one.id}", one.task.id, text
        except AtlasError as error:
            raise ConfigError(f"{where}: {error}") from None
    else:
        yield from _rows_of_file(Path(value), where)


def _rows_of_file(path: Path, where: str) -> Iterator[tuple[str, str, str]]:
    rows = read_json(path, where)
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{where}: expected {EXPECTED}.")
    for index, row in enumerate(rows):
        item_id = row.get("item_id") if isinstance(row, dict) else None
        if not isinstance(item_id, str):
            raise ConfigError(f"{where}: row {index} has no text 'item_id'.")
        yield f"row {index}", item_id, _first_text(row)


def _first_text(row: dict[str, Any]) -> str:
    """The first observation of a row: it follows the instruction and its acknowledgement."""
    turns = row.get("conversations")
    turn = turns[2] if isinstance(turns, list) and len(turns) > 2 else None
    text = turn.get("value") if isinstance(turn, dict) else None
    return text if isinstance(text, str) else ""


def read_json(path: Path, where: str) -> Any:
    """The value in a JSON file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError) as error:
        reason = f"is not JSON ({error!s:.200})"
    raise ConfigError(f"{where}: {reason}. Expected {EXPECTED}.")
