"""Messages, tools and settings in the form that inspect_ai takes."""

from __future__ import annotations

from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    ResponseSchema,
)
from inspect_ai.tool import ToolCall, ToolInfo
from inspect_ai.util import JSONSchema

from atlas.errors import DataError
from atlas.models.base import Sampling
from atlas.records import Message
from atlas.rendering.openai_messages import decode_arguments


def inspect_config(sampling: Sampling) -> GenerateConfig:
    """Sampling settings for inspect_ai."""
    schema = None
    if sampling.response_schema is not None:
        given = JSONSchema.model_validate(sampling.response_schema)
        schema = ResponseSchema(name="answer", json_schema=given, strict=True)
    return GenerateConfig(
        temperature=sampling.temperature,
        max_tokens=sampling.max_tokens,
        seed=sampling.seed,
        response_schema=schema,
        # Otherwise inspect_ai sends an extra question to find out whether gpt-5 gives one.
        reasoning_summary="none",
    )


def inspect_tool(schema: dict[str, Any]) -> ToolInfo:
    """A tool, from its schema in OpenAI's form."""
    function = schema.get("function", schema)
    return ToolInfo.model_validate({"description": "", "parameters": {}} | function)


def inspect_message(message: Message) -> ChatMessage:
    """A message.

    Raises:
        DataError: the arguments of a tool call are not a JSON object.
    """
    content = message.content
    match message.role:
        case "system":
            return ChatMessageSystem(content=content)
        case "user":
            return ChatMessageUser(content=content)
        case "tool":
            tool = {"tool_call_id": message.tool_call_id, "function": message.name}
            return ChatMessageTool(content=content, **tool)
    calls = []
    for index, call in enumerate(message.tool_calls):
        arguments = decode_arguments(call.arguments or "{}")
        if not isinstance(arguments, dict):
            raise DataError(
                f"a call of tool '{call.name}' has the arguments {call.arguments!r:.60}, expected "
                "a JSON object. Fix the message that is sent."
            )
        id_ = call.id or f"call_{index}"
        calls.append(ToolCall(id=id_, function=call.name, arguments=arguments))
    return ChatMessageAssistant(content=content, tool_calls=calls or None)
