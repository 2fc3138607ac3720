"""Results of calls: the text of one, and the message from a part that is one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.records import Message
from atlas.trajectories.formats.calls import ID_KEYS, has_content, read_id
from atlas.trajectories.formats.part_kinds import TEXT_KEYS, kind_of, marker, text_of_document

RESULT_KEYS = (
    "content",
    "output",
    "result",
    "response",
    "toolResult",
    "tool_result",
    "value",
    "text",
    "errorText",
    "error",
)
NAME_KEYS = ("name", "toolName", "tool_name")


def result_text(value: Any, index: int) -> str:
    """The text of a result: as it came, the text of its parts, or the JSON of anything else."""
    if value is None or value == [] or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(_is_shown(part) for part in value):
        return "".join(_shown(part, index) for part in value)
    if isinstance(value, dict):
        if _is_shown(value) and "type" in value:
            return _shown(value, index)
        wrapped = [key for key in value if key not in _AROUND_RESULTS]
        if len(wrapped) == 1 and wrapped[0] in ("value", "content"):
            inner = value[wrapped[0]]
            if wrapped[0] == "value" or (
                isinstance(inner, list) and inner and all(_is_shown(part) for part in inner)
            ):
                return result_text(inner, index)
    return json.dumps(value, ensure_ascii=False)


# Beside the result in an object that wraps it.
_AROUND_RESULTS = ("status", "type", "isError", "is_error", "structuredContent", "_meta")


def read_result(part: Mapping[str, Any], index: int) -> Message:
    """The message of a part that is a result."""
    owners = [part, *(inner for inner in map(part.get, _WRAPPERS) if isinstance(inner, dict))]
    ids = (read_id(owner, ID_KEYS, index) for owner in owners)
    names = (owner.get(key) for owner in owners for key in NAME_KEYS)
    contents = [owner[key] for owner in owners[::-1] for key in RESULT_KEYS if key in owner]
    content = next(filter(has_content, contents), None)
    return Message(
        role="tool",
        content=result_text(content, index),
        tool_call_id=next(filter(None, ids), None),
        name=next((name for name in names if isinstance(name, str)), None),
    )


# Objects that hold a whole result.
_WRAPPERS = ("toolResult", "functionResponse", "tool_result", "function_response", "toolResponse")


def _is_shown(part: Any) -> bool:
    """Whether a part of a result is a text or media, and no data."""
    if isinstance(part, str):
        return True
    if not isinstance(part, dict):
        return False
    kind = kind_of(part)
    if kind == "text":
        return any(isinstance(part.get(key), str) for key in TEXT_KEYS) and _is_part(part)
    return kind == "media" and _is_part(part)


def _is_part(part: Mapping[str, Any]) -> bool:
    """A typed part, or an object with one key: `{"text": …, "score": …}` is data."""
    return "type" in part or len(part) == 1


def _shown(part: Any, index: int) -> str:
    if isinstance(part, str):
        return part
    if kind_of(part) == "text":
        return next(text for text in map(part.get, TEXT_KEYS) if isinstance(text, str))
    text = text_of_document(part)
    return marker(part) if text is None else text
