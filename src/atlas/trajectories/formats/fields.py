"""Fields of an agent's log, taken with a check: a field of the wrong kind makes the row bad."""

from __future__ import annotations

from typing import Any

from atlas.records import Message, Role
from atlas.trajectories.formats.messages import read_message
from atlas.trajectories.formats.rows import BadRowError


def list_of_objects(value: Any, what: str, index: int | None = None) -> list[dict[str, Any]]:
    """The value, which is a list of objects; null counts as an empty list.

    Raises:
        BadRowError: it is something else.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(element, dict) for element in value):
        raise BadRowError(f"{what} is {value!r:.60}, expected a list of objects", index)
    return value


def object_or_empty(value: Any) -> dict[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text_or_none(value: Any) -> str | None:
    """The value where it is a text that is not empty."""
    return value if isinstance(value, str) and value else None


def read_one_message(role: Role, content: Any, index: int, **fields: Any) -> Message:
    """A message of one role from its content as it came, a text or parts.

    Raises:
        BadRowError: the content or a field is not what it should be.
    """
    turns = list(read_message({"role": role, "content": content, **fields}, index))
    if len(turns) > 1:
        raise BadRowError("one message holds a call and its result, expected them apart", index)
    return turns[0].message
