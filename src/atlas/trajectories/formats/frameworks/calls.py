"""Calls and results in the spellings of all frameworks: `value -> call`, `value -> result`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.records import Message, ToolCall
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.frameworks.kinds import MEDIA, TEXTS, kind_of_part
from atlas.trajectories.formats.rows import BadRowError

CALL_IDS = ("call_id", "toolCallId", "tool_call_id", "toolUseId", "id")
RESULT_IDS = ("tool_call_id", "tool_use_id", "toolCallId", "toolUseId", "call_id", "id")
NAMES = ("name", "toolName", "tool_name")
ARGUMENTS = ("arguments", "args", "input", "parameters", "tool_kwargs", "kwargs")
RESULT_VALUES = ("response", "result", "output", "content", "value")


def read_call(value: Any, index: int) -> ToolCall:
    """A call in any framework's spelling.

    Raises:
        BadRowError: it has no name, or its arguments are neither a text nor JSON.
    """
    given = object_or_empty(value)
    for key in ("tool_call", "toolUse"):
        if isinstance(given.get(key), dict):
            given = {"id": given.get("id"), **given[key]}
    function = object_or_empty(given.get("function", given.get("custom"))) or given
    name = _first(function, NAMES)
    if not isinstance(name, str):
        reason = f"a tool call has no name: {value!r:.60}, expected 'name' and 'arguments' in it"
        raise BadRowError(reason, index)
    found = _first(function, ARGUMENTS)
    arguments = _first(given, ARGUMENTS) if found is None else found
    if arguments is None or arguments == "":
        arguments = "{}"
    if isinstance(arguments, int | float):
        reason = f"the arguments of tool call {name!r:.60} are {arguments!r:.60}"
        raise BadRowError(f"{reason}, expected a JSON text or an object", index)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=_id_of(given, CALL_IDS), name=name, arguments=text)


def read_result(part: Mapping[str, Any]) -> Message:
    """A result in any framework's spelling."""
    name = _first(part, NAMES)
    return Message(
        role="tool",
        content=text_of_result(_first(part, RESULT_VALUES)),
        tool_call_id=_id_of(part, RESULT_IDS),
        name=name if isinstance(name, str) else None,
    )


def text_of_result(value: Any) -> str:
    """What a model saw of a result: a text, the text of its parts, or JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    is_typed = isinstance(value, dict) and set(value) <= {"type", "value", "providerOptions"}
    if is_typed and "value" in value:
        return text_of_result(value["value"])
    if isinstance(value, dict) and set(value) == {"content"} and isinstance(value["content"], list):
        value = value["content"]
    if isinstance(value, list) and value:
        texts = [_shown(part) for part in value]
        if None not in texts:
            return "".join(filter(None, texts))
    return json.dumps(value, ensure_ascii=False)


def _shown(part: Any) -> str | None:
    """A part of a result as the model saw it; None where the value is not a list of parts."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return None
    kind, _ = kind_of_part(part)
    if kind in TEXTS and isinstance(part.get("text"), str):
        return str(part["text"])
    return f"[{MEDIA[kind]}]" if kind in MEDIA else None


def _first(owner: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((owner[key] for key in keys if owner.get(key) is not None), None)


def _id_of(owner: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    found = _first(owner, keys)
    return str(found) if isinstance(found, str | int) and found != "" else None
