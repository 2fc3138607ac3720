"""Conventions that no field states: the action in a ReAct turn, the environment in an item id, the canned acknowledgement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from atlas.records import Task
from atlas.trajectories.formats.rows import BadRowError

UNKNOWN_ENVIRONMENT = "unknown"
_ACTION = re.compile(r"Action:[^\S\n]*\n*[^\S\n]*([^\n]*)")
_NUMBERED_ITEM = re.compile(r"([A-Za-z]+(?:_[A-Za-z]+)*)_\d+")
_ALFWORLD_GAME = re.compile(r".*_trial_T\d{8}_\d+_\d+")
_ACKNOWLEDGEMENT = re.compile(
    r"(ok|okay|understood|sure)[.!]?( i'll follow your instructions and try my best to solve the task\.?)?", re.IGNORECASE
)


def parse_action(response: str) -> str | None:
    """What AgentGym executes of a ReAct turn: the first line after its last "Action:"; None where there is none.

    >>> parse_action("Thought:\\nThe door is locked.\\n\\nAction:\\nopen door 1\\nopen door 2")
    'open door 1'
    """
    found = _ACTION.findall(response)
    return (found[-1].strip() or None) if found else None


def is_acknowledgement(text: str) -> bool:
    """Whether an assistant's first turn is the canned "OK." to the instructions, which nobody decided to say."""
    return _ACKNOWLEDGEMENT.fullmatch(text.strip()) is not None


def environment_of_item(item_id: str) -> str:
    """The environment that AgentGym's item ids begin with.

    >>> environment_of_item("lmrlgym_maze_18")
    'lmrlgym_maze'
    """
    if match := _NUMBERED_ITEM.fullmatch(item_id):
        return match[1]
    return "alfworld" if _ALFWORLD_GAME.fullmatch(item_id) else UNKNOWN_ENVIRONMENT


def task_of_row(row: Mapping[str, Any], otherwise: str) -> Task:
    """The task that a row names by `item_id` or `task_id` (its environment by `environment` or `task_name`), or the id `otherwise`."""
    id_ = otherwise
    for key in ("item_id", "task_id"):
        given = row.get(key)
        if given is None:
            continue
        if not isinstance(given, str | int) or isinstance(given, bool) or given == "":
            raise BadRowError(f"{key} is {given!r:.60}, expected a text or a whole number")
        id_ = str(given)
        break
    for key in ("environment", "task_name"):
        if isinstance(row.get(key), str) and row[key]:
            return Task(id=id_, environment=row[key])
    return Task(id=id_, environment=environment_of_item(id_))
