"""Messages, tools and schemas in the form that inspect_ai takes."""

from __future__ import annotations

import json
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ResponseSchema,
)
from inspect_ai.tool import ToolCall, ToolInfo
from inspect_ai.util import JSONSchema

from atlas.errors import DataError
from atlas.records import Message


def inspect_schema(schema: dict[str, Any] | None) -> ResponseSchema | None:
    """The schema of an answer."""
    if schema is None:
        return None
    return ResponseSchema(name="answer", json_schema=JSONSchema.model_validate(schema), strict=True)


def inspect_tool(schema: dict[str, Any]) -> ToolInfo:
    """A tool, from its schema in OpenAI's form."""
    function = schema.get("function", schema)
    return ToolInfo.model_validate({"description": "", "parameters": {}} | function)


def inspect_message(message: Message) -> ChatMessage:
    """A message.

    Raises:
        DataError: the arguments of a tool call are not a JSON object.
    """
    if message.role == "system":
        return ChatMessageSystem(content=message.content)
    if message.role == "user":
        return ChatMessageUser(content=message.content)
    if message.role == "tool":
        return ChatMessageTool(
            content=message.content, tool_call_id=message.tool_call_id, function=message.name
        )
    calls = [
        ToolCall(
            id=call.id or f"call_{index}",
            function=call.name,
            arguments=_arguments(call.name, call.arguments),
        )
        for index, call in enumerate(message.tool_calls)
    ]
    return ChatMessageAssistant(content=message.content, tool_calls=calls or None)


def _arguments(tool: str, text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise DataError(
            f"a call of tool '{tool}' has the arguments {text!r:.60}, expected a JSON object. "
            "Fix the message that is sent."
        )
    return arguments
