"""Vercel's AI SDK: `ai.prompt.messages`, `ai.response.text`, `ai.response.toolCalls`."""

from __future__ import annotations

from typing import Any

from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.otel.exchange import Exchange
from atlas.trajectories.formats.otel.spans import Span

MESSAGES = "ai.prompt.messages"
PROMPT = "ai.prompt"
TOOLS = "ai.prompt.tools"
# How the operations end that call a model; others hold these.
CALLS = (".doGenerate", ".doStream")
# The last are the names of version 3.
ANSWERS = ("ai.response", "ai.result")
METADATA = (
    "ai.model",
    "ai.operationId",
    "ai.settings",
    "ai.telemetry",
    "ai.request",
    "ai.usage",
    "ai.stream",
    "ai.schema",
    "ai.finishReason",
    "ai.prompt.toolChoice",
    "ai.prompt.format",
    *(
        f"{start}.{name}"
        for start in ANSWERS
        for name in (
            "finishReason",
            "id",
            "model",
            "timestamp",
            "providerMetadata",
            "msToFirstChunk",
            "msToFinish",
            "avgOutputTokensPerSecond",
            "avgCompletionTokensPerSecond",
            "files",
        )
    ),
)
SAID = ("text", "object", "toolCalls", "reasoning")


def exchange_of(span: Span) -> Exchange | None:
    """What a span says in this convention; None where it says nothing."""
    given = span.attributes
    if "ai.toolCall.name" in given or "ai.toolCall.id" in given:
        return Exchange(
            "tool",
            sent=None,
            answered=given.get("ai.toolCall.result"),
            used=(),
            name=given.get("ai.toolCall.name"),
            id=given.get("ai.toolCall.id"),
        )
    is_call = MESSAGES in given or str(given.get("ai.operationId")).endswith(CALLS)
    found = {
        name: given[f"{start}.{name}"]
        for start in reversed(ANSWERS)
        for name in SAID
        if f"{start}.{name}" in given
    }
    sent = given.get(MESSAGES if is_call else PROMPT)
    is_told = bool(found) if not is_call else bool(found) or sent is not None
    if not is_told or (sent is None and not is_call):
        # The content was not captured, or it is another operation.
        return None
    return Exchange(
        "model" if is_call else "agent",
        sent=decode_nested(sent),
        answered=_answer(found) if found else None,
        used=(MESSAGES, TOOLS, *(f"{start}.{name}" for start in ANSWERS for name in SAID))
        + ((PROMPT,) if not is_call else ()),
        tools=_tools(given.get(TOOLS)),
        finish_reason=given.get("ai.response.finishReason", given.get("ai.finishReason")),
        agent=given.get("ai.telemetry.functionId"),
    )


def _answer(found: dict[str, Any]) -> dict[str, Any]:
    said = found.get("text") or found.get("object")
    return {
        "role": "assistant",
        "content": said,
        "reasoning": found.get("reasoning"),
        "tool_calls": decode_nested(found.get("toolCalls")),
    }


def _tools(value: Any) -> Any:
    value = decode_nested(value)
    return [decode_nested(each) for each in value] if isinstance(value, list) else value
