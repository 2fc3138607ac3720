"""Messages of LangChain: `{"type": "human", …}` in its three written forms -> chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty

ROLES = {
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
# Their role stands beside, or they are instructions to the state.
OTHER_KINDS = ("chat", "remove")
# Only LangChain calls them so.
TELLING = ("human", "ai", "remove")
REMOVE_ALL = "__remove_all__"


def kind_of(value: Any) -> str | None:
    """The LangChain kind of a message, None for anything else."""
    if not isinstance(value, dict):
        return None
    if value.get("type") == "constructor" and isinstance(value.get("kwargs"), dict):
        path = value.get("id")
        name = path[-1] if isinstance(path, list) and path else None
    else:
        name = value.get("type")
    if not isinstance(name, str):
        return None
    kind = name.removesuffix("Chunk").removesuffix("Message").lower()
    if kind not in ROLES and kind not in OTHER_KINDS:
        return None
    has_fields = value.get("type") == "constructor" or isinstance(value.get("data"), dict)
    return kind if has_fields or "role" not in value or kind in TELLING else None


def is_telling(value: Any) -> bool:
    """Whether a value is certainly a message of LangChain."""
    kind = kind_of(value)
    if kind is None:
        return False
    has_fields = value.get("type") == "constructor" or isinstance(value.get("data"), dict)
    return has_fields or (
        kind in TELLING and ("content" in value or kind == "remove" or "tool_calls" in value)
    )


def is_written(value: Any) -> bool:
    """Whether a value looks like a message of LangChain, of any kind."""
    return kind_of(value) is not None and bool({"content", "data", "kwargs"} & value.keys())


def fields_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a message in any of its written forms."""
    for key in ("kwargs", "data"):
        inner = value.get(key)
        if isinstance(inner, dict) and (key == "data" or value.get("type") == "constructor"):
            return inner
    return value


def as_chat(value: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A message of LangChain in the form of a chat message, its calls in one list."""
    fields = fields_of(value)
    extra = object_or_empty(fields.get("additional_kwargs"))
    role = ROLES.get(kind) or fields.get("role")
    calls = fields.get("tool_calls")
    if calls is None or calls == []:
        legacy = extra.get("function_call")
        calls = extra.get("tool_calls") or ([legacy] if legacy else [])
    invalid = fields.get("invalid_tool_calls")
    # Of a part of a stream, which repeats the calls in its own form.
    calls = calls or (fields.get("tool_call_chunks") if not invalid else calls)
    if isinstance(calls, list) and isinstance(invalid, list):
        known = {object_or_empty(call).get("id") for call in calls} - {None}
        calls = [*calls, *(one for one in invalid if object_or_empty(one).get("id") not in known)]
    content = fields.get("content")
    if not content:
        blocks = fields.get("content_blocks", fields.get("contentBlocks"))
        content = blocks or extra.get("refusal") or content
    return {
        "role": role,
        "content": content,
        "tool_calls": calls,
        "reasoning": [
            extra.get(key) for key in ("reasoning_content", "reasoning", "thinking") if key in extra
        ],
        "tool_call_id": fields.get("tool_call_id"),
        "name": fields.get("name"),
    }
