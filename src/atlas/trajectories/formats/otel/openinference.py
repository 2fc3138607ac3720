"""OpenInference: messages flattened into attributes (`llm.input_messages.0.message.role`)."""

from __future__ import annotations

from typing import Any

from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.otel.attributes import nested
from atlas.trajectories.formats.otel.exchange import Exchange
from atlas.trajectories.formats.otel.spans import Span

INPUT = "llm.input_messages"
OUTPUT = "llm.output_messages"
TOOLS = "llm.tools"
VALUES = ("input", "output")
COMPLETIONS = ("llm.prompts", "llm.choices")
METADATA = (
    "openinference",
    "llm.model_name",
    "llm.request",
    "llm.response",
    "llm.provider",
    "llm.system",
    "llm.token_count",
    "llm.cost",
    "llm.invocation_parameters",
    "llm.finish_reason",
    "llm.prompt_template",
    "llm.function_call",
    "metadata",
    "tag",
    "graph",
    "agent",
    "prompt",
    "annotation",
)


def exchange_of(span: Span) -> Exchange | None:
    """What a span says in this convention; None where it says nothing."""
    given = span.attributes
    kind = given.get("openinference.span.kind")
    sent, answered = nested(given, INPUT), nested(given, OUTPUT)
    copies: tuple[str, ...] = VALUES
    raw_sent = given.get("input.value", nested(given, "input.value"))
    raw_answered = given.get("output.value", nested(given, "output.value"))
    if kind == "TOOL":
        id_ = given.get("tool_call.id", given.get("tool.id"))
        name = given.get("tool.name", span.name)
        return Exchange("tool", sent=None, answered=raw_answered, used=(), name=name, id=id_)
    if kind in ("AGENT", "CHAIN") and sent is None and answered is None:
        if raw_sent is None or raw_answered is None:
            return None
        agent = given.get("agent.name")
        return Exchange("agent", sent=raw_sent, answered=raw_answered, used=VALUES, agent=agent)
    if kind is None and sent is None and answered is None:
        return None
    if kind not in (None, "LLM"):
        return None
    # Where the messages are missing, the request and the response stand there as they were.
    sent = raw_sent if sent is None else _messages(sent)
    answered = raw_answered if answered is None else _messages(answered)
    if sent is None and answered is None:
        return None
    return Exchange(
        "model",
        sent=sent,
        answered=answered,
        used=(INPUT, OUTPUT, TOOLS, *copies, *COMPLETIONS),
        tools=_tools(nested(given, TOOLS)),
        finish_reason=given.get("llm.finish_reason"),
        agent=given.get("agent.name"),
    )


def _messages(value: Any) -> Any:
    """The messages, with the call of an assistant in the older form as a call."""
    value = decode_nested(value)
    if not isinstance(value, list):
        return value
    return [_message(each) for each in value]


def _message(given: Any) -> Any:
    message = given.get("message") if isinstance(given, dict) else None
    if not isinstance(message, dict):
        return given
    name = message.get("function_call_name")
    if name is not None and message.get("role") in ("function", "tool"):
        rest = {key: value for key, value in message.items() if key != "function_call_name"}
        return {"message": {**rest, "name": name}}
    if name is not None:
        rest = {
            key: value for key, value in message.items() if not key.startswith("function_call_")
        }
        call = {"name": name, "arguments": message.get("function_call_arguments_json")}
        return {"message": {**rest, "function_call": call}}
    return given


def _tools(value: Any) -> Any:
    """The schemas in a list of `{"tool": {"json_schema": …}}`."""
    value = decode_nested(value)
    if not isinstance(value, list):
        return value
    found = []
    for each in value:
        tool = each.get("tool") if isinstance(each, dict) else None
        schema = tool.get("json_schema") if isinstance(tool, dict) else None
        found.append(decode_nested(each if schema is None else schema))
    return found
