"""The model calls in an export of spans: `row -> calls and problems`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from atlas.records import Message, Problem, ToolCall
from atlas.trajectories.formats.agent_logs import call_fields, objects_of, problem_of
from atlas.trajectories.formats.fields import object_or_empty, read_one_message, text_or_none
from atlas.trajectories.formats.messages import decode_nested, read_message, read_tool_call
from atlas.trajectories.formats.rows import BadRowError, SourceRow

CALLS = ("chat", "text_completion", "generate_content")
INPUT = "gen_ai.input.messages"
OUTPUT = "gen_ai.output.messages"
SYSTEM = "gen_ai.system_instructions"
# The older form.
EVENT_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"
SCALARS = ("stringValue", "intValue", "doubleValue", "boolValue")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model, or the whole work of an agent.

    Attributes:
        group: the conversation of the call, or its trace.
        is_continuation: the conversation has a name and no answer of the model was sent along, so
            perhaps only new messages were sent.
        row: where the call stands, without a value.
    """

    group: str
    is_agent: bool
    trace: str
    start: int
    input: tuple[Message, ...]
    output: tuple[Message, ...]
    is_continuation: bool
    finish_reason: str | None
    error: str | None
    attributes: Mapping[str, Any]
    row: SourceRow


def calls_of_document(row: SourceRow) -> Iterator[ModelCall | Problem]:
    """The spans of an export that hold messages: of model calls, and of whole agents."""
    for span in _spans(row.value):
        attributes = _attributes(span)
        events = objects_of(span, "events")
        is_choice = (event.get("name") == CHOICE for event in events)
        if INPUT not in attributes and OUTPUT not in attributes and not any(is_choice):
            continue
        where = f"{row.where}, span {_first_text(span, 'spanId', 'span_id') or '?'}"
        try:
            yield _call(span, attributes, replace(row.part(None), where=where))
        except (BadRowError, RecursionError) as error:
            yield problem_of(error, where)


def _spans(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in objects_of(document, "resourceSpans", "resource_spans"):
        scopes = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans")
        for scope in objects_of(resource, *scopes):
            yield from objects_of(scope, "spans")


def _first_text(owner: Mapping[str, Any], *keys: str) -> str | None:
    return text_or_none(next((owner[key] for key in keys if owner.get(key)), None))


def _attributes(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as plain values, from a list of keys with typed values or from an object."""
    given = owner.get("attributes")
    if isinstance(given, dict):
        return given
    pairs = _pairs(owner, "attributes")
    for event in objects_of(owner, "events"):
        if event.get("name") == "gen_ai.client.inference.operation.details":
            pairs |= _attributes(event)
    return pairs


def _pairs(owner: Mapping[str, Any], key: str) -> dict[str, Any]:
    pairs = ((each.get("key"), each.get("value")) for each in objects_of(owner, key))
    return {name: _plain(value) for name, value in pairs if isinstance(name, str)}


def _plain(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return value
    [(kind, inner)] = value.items()
    if kind == "arrayValue":
        values = object_or_empty(inner).get("values")
        return [_plain(each) for each in values] if isinstance(values, list) else []
    if kind == "kvlistValue":
        return _pairs(object_or_empty(inner), "values")
    return inner if kind in SCALARS else value


def _call(span: Mapping[str, Any], attributes: Mapping[str, Any], row: SourceRow) -> ModelCall:
    system = decode_nested(attributes.get(SYSTEM))
    output = decode_nested(attributes.get(OUTPUT))
    sent = _messages(decode_nested(attributes.get(INPUT)), "user")
    answered = _messages(output, "assistant")
    reason = _finish_reason(attributes, output)
    if not sent and not answered:
        sent, answered, reason = _from_events(span, reason)
    if system:
        is_parts = isinstance(system, list)
        given = [{"role": "system", "parts": system}] if is_parts else str(system)
        sent = _messages(given, "system") + sent
    status = object_or_empty(span.get("status"))
    error: str | None = None
    if status.get("code") in (2, "STATUS_CODE_ERROR", "ERROR"):
        error = text_or_none(status.get("message")) or text_or_none(attributes.get("error.type"))
        error = error or "error"
    elif not answered:
        reason = "no answer of the model, expected gen_ai.output.messages or an event gen_ai.choice"
        raise BadRowError(reason)
    trace = _first_text(span, "traceId", "trace_id") or "trace"
    conversation = text_or_none(attributes.get("gen_ai.conversation.id"))
    start = str(span.get("startTimeUnixNano", span.get("start_time_unix_nano")))
    has_answers = any(message.role == "assistant" for message in sent)
    return ModelCall(
        group=conversation or trace,
        is_agent=attributes.get("gen_ai.operation.name", "chat") not in CALLS,
        trace=trace,
        start=int(start) if start.isdecimal() and len(start) < 30 else 0,
        input=tuple(sent),
        output=tuple(answered),
        is_continuation=conversation is not None and not has_answers,
        finish_reason=reason,
        error=error,
        attributes=attributes,
        row=row,
    )


def _messages(given: Any, role: str) -> list[Message]:
    """Messages of `{"role", "parts"}` or `{"role", "content"}`; a bare text is one of `role`."""
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": role, "content": given}]
    if not isinstance(given, list):
        raise BadRowError(f"messages are {given!r:.60}, expected a list of them")
    return [message for index, each in enumerate(given) for message in _message(each, role, index)]


def _message(given: Any, role: str, index: int) -> list[Message]:
    if not isinstance(given, dict):
        reason = f"{given!r:.60} is not a message, expected an object with 'role' and 'parts'"
        raise BadRowError(reason, index)
    fields = {"role": role, **given}
    parts = fields.get("parts")
    if not isinstance(parts, list):
        return [turn.message for turn in read_message(fields, index)]
    content, calls, results = _sorted_parts(parts, index)
    if results and not content and not calls:
        return results
    messages = [turn.message for turn in read_message({**fields, "content": content}, index)]
    if calls:
        last = messages[-1]
        if last.role != "assistant":
            raise BadRowError("tool calls may only stand in an assistant's message", index)
        messages[-1] = last.model_copy(update={"tool_calls": (*last.tool_calls, *calls)})
    return results + messages


def _sorted_parts(
    parts: Sequence[Any], index: int
) -> tuple[list[Any], list[ToolCall], list[Message]]:
    """The parts that are content, the calls and the results."""
    content: list[Any] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    for part in parts:
        match object_or_empty(part).get("type"):
            case "text" | "reasoning" as kind:
                said = part.get("content")
                shown_as = "text" if kind == "text" else "thinking"
                content.append({"type": shown_as, "text": said, "thinking": said})
            case "tool_call":
                calls.append(read_tool_call(call_fields(part, "id", "name"), index))
            case "tool_call_response":
                results.append(_result(part, index))
            case "blob" | "uri" | "file" as kind:
                content.append({"type": text_or_none(part.get("modality")) or kind})
            case _:
                content.append(part)
    return content, calls, results


def _result(part: Mapping[str, Any], index: int) -> Message:
    given = (part.get(key) for key in ("response", "result", "content"))
    content = next((each for each in given if each is not None), None)
    if isinstance(content, bool | int | float):
        content = str(content)
    return read_one_message("tool", content, index, tool_call_id=part.get("id"))


def _from_events(
    span: Mapping[str, Any], reason: str | None
) -> tuple[list[Message], list[Message], str | None]:
    """The older form: an event for each message, and one for each choice."""
    sent: list[Message] = []
    answered: list[Message] = []
    for index, event in enumerate(objects_of(span, "events")):
        fields = {
            key: decode_nested(value) if key in ("tool_calls", "message") else value
            for key, value in _attributes(event).items()
        }
        role = EVENT_ROLES.get(str(event.get("name")))
        if role is not None:
            if role == "tool":
                fields.setdefault("tool_call_id", fields.get("id"))
            sent += _message({**fields, "role": role}, role, index)
        elif event.get("name") == CHOICE and not answered:
            # Later choices were not taken.
            message = fields.get("message", fields.get("content"))
            if isinstance(message, dict):
                message = [message]
            answered = _messages(message or [{**fields, "role": "assistant"}], "assistant")
            reason = text_or_none(fields.get("finish_reason")) or reason
    return sent, answered, reason


def _finish_reason(attributes: Mapping[str, Any], output: Any) -> str | None:
    reasons = decode_nested(attributes.get("gen_ai.response.finish_reasons"))
    if isinstance(reasons, list) and reasons:
        return text_or_none(reasons[0])
    last = output[-1] if isinstance(output, list) and output else None
    return text_or_none(object_or_empty(last).get("finish_reason"))
