"""The GenAI convention of OpenTelemetry: attributes, or events and log records before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.frameworks.shapes import refuse_cut
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.otel.attributes import nested
from atlas.trajectories.formats.otel.exchange import Exchange
from atlas.trajectories.formats.otel.pydantic_ai import tools_of
from atlas.trajectories.formats.otel.spans import Span

# All other operations that have messages are calls of models.
AGENTS = ("invoke_agent", "create_agent", "invoke_workflow", "agent", "workflow")
TOOL_RUNS = ("execute_tool", "tool")
INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"
SYSTEMS = ("gen_ai.system_instructions", "gen_ai.system.instructions")
TOOLS = "gen_ai.tool.definitions"
# The older form.
EVENT_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"
# Events of the first days.
CONTENT_EVENTS = {
    "gen_ai.content.prompt": "gen_ai.prompt",
    "gen_ai.content.completion": "gen_ai.completion",
}
METADATA = (
    "gen_ai.system",
    "gen_ai.provider",
    "gen_ai.operation",
    "gen_ai.request",
    "gen_ai.response",
    "gen_ai.usage",
    "gen_ai.aggregated_usage",
    "gen_ai.client",
    "gen_ai.conversation",
    "gen_ai.output.type",
    "gen_ai.prompt.name",
    "gen_ai.is_streaming",
    *(f"gen_ai.tool.{key}" for key in ("name", "type", "description", "call", "output", "result")),
    "gen_ai.agent",
    "gen_ai.token",
    "gen_ai.openai",
    "gen_ai.serialized",
    "openai",
    "aws",
    "azure",
    "event",
)
RUN_RESULTS = (
    "gen_ai.tool.call.result",
    "tool_response",
    "gen_ai.tool.output",
    "gen_ai.tool.result.value",
)


def exchange_of(span: Span) -> Exchange | None:
    """What a span says in this convention; None where it says nothing."""
    given = span.attributes
    operation = given.get("gen_ai.operation.name", "chat")
    if operation in TOOL_RUNS:
        return _tool_run(span)
    is_agent = operation in AGENTS
    sent, answered = decode_nested(given.get(INPUT)), decode_nested(given.get(OUTPUT))
    reason = _finish_reason(given.get("gen_ai.response.finish_reasons"), answered)
    if sent is None and answered is None:
        told = [*_of_events(span)]
        if not any(is_answer for is_answer, _ in told):
            return None
        sent = [message for is_answer, message in told if not is_answer]
        answered = [message for is_answer, message in told if is_answer]
        reason = reason or next(
            (choice.get("finish_reason") for choice in answered if isinstance(choice, dict)), None
        )
        answered = _alternatives(answered) if len(answered) > 1 else answered
    elif not is_agent and _are_alternatives(answered):
        answered = _alternatives(answered)
    return Exchange(
        "agent" if is_agent else "model",
        sent=sent,
        answered=answered,
        used=(INPUT, OUTPUT, *SYSTEMS, TOOLS),
        system=next((given[key] for key in SYSTEMS if given.get(key)), None),
        tools=given.get(TOOLS) or tools_of(given) or nested(given, "llm.request.functions"),
        finish_reason=reason,
        agent=given.get("gen_ai.agent.name"),
    )


def _tool_run(span: Span) -> Exchange | None:
    given = span.attributes
    result = next((given[key] for key in RUN_RESULTS if given.get(key) is not None), None)
    name, id_ = given.get("gen_ai.tool.name"), given.get("gen_ai.tool.call.id")
    return Exchange("tool", sent=None, answered=result, used=(), name=name, id=id_)


def _of_events(span: Span) -> Iterator[tuple[bool, Any]]:
    """The messages that events hold, and whether each is an answer."""
    for name, attributes in span.events:
        fields = {
            key: decode_nested(value) if key in ("tool_calls", "message") else value
            for key, value in attributes.items()
            if not key.startswith(("gen_ai.", "event."))
        }
        role = EVENT_ROLES.get(name)
        if role is not None:
            yield False, {**fields, "role": role}
        elif name == CHOICE:
            message = fields.get("message", fields.get("content"))
            refuse_cut(message)
            if isinstance(message, dict):
                reason = fields.get("finish_reason")
                yield True, {"role": "assistant", **message, "finish_reason": reason}
            else:
                yield True, {**fields, "content": message, "role": "assistant"}
        elif name in CONTENT_EVENTS:
            key = CONTENT_EVENTS[name]
            yield name.endswith("completion"), decode_nested(attributes.get(key))


def _alternatives(answers: Any) -> dict[str, Any]:
    """Answers of which the agent took the first."""
    return {"choices": answers}


def _are_alternatives(answered: Any) -> bool:
    """Whether messages are choices, which the convention writes as a list of messages.

    Some programs write an answer as several messages: a text, and then a call.
    """
    return (
        isinstance(answered, list)
        and len(answered) > 1
        and all(
            isinstance(each, dict)
            and each.get("finish_reason")
            and isinstance(each.get("parts"), list)
            and any(object_or_empty(part).get("type") == "text" for part in each["parts"])
            for each in answered
        )
    )


def _finish_reason(reasons: Any, answered: Any) -> Any:
    reasons = decode_nested(reasons)
    if isinstance(reasons, list) and reasons:
        return reasons[0]
    answered = decode_nested(answered)
    last = answered[-1] if isinstance(answered, list) and answered else None
    return last.get("finish_reason") if isinstance(last, dict) else None
