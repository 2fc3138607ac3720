"""Reads and writes messages in OpenAI's form, which most files, servers and trainers use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.records import Message, ToolCall


def write_openai_message(message: Message) -> dict[str, Any]:
    """A message as an object. Missing fields are absent, not null; arguments are verbatim text."""
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        written["reasoning_content"] = message.reasoning
    if message.tool_calls:
        written["tool_calls"] = [
            {
                **({"id": call.id} if call.id is not None else {}),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        written["name"] = message.name
    return written


def read_openai_message(written: Mapping[str, Any]) -> Message:
    """Read what `write_openai_message` wrote; absent fields may also be null.

    Raises:
        KeyError, TypeError, ValueError: the object is damaged.
    """
    return Message(
        role=written["role"],
        content=written["content"],
        reasoning=written.get("reasoning_content"),
        tool_calls=tuple(map(_read_call, written.get("tool_calls") or ())),
        tool_call_id=written.get("tool_call_id"),
        name=written.get("name"),
    )


def _read_call(call: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    return ToolCall(id=call.get("id"), name=function["name"], arguments=function["arguments"])


def decode_arguments(text: str) -> Any:
    """The arguments of a call as an object, or the text itself if it is not valid JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def encode_arguments(arguments: Any) -> str:
    """The text of a call's arguments, the inverse of `decode_arguments` up to white space."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
