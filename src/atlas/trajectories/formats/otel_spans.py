"""The model calls in an export of spans: `row -> calls and problems`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.records import Message, Problem, ToolCall
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import decode_nested, read_message, read_tool_call
from atlas.trajectories.formats.rows import BadRowError, SourceRow

CALLS = ("chat", "text_completion", "generate_content")
INPUT, OUTPUT, SYSTEM = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
)
EVENT_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model, or the whole work of an agent.

    Attributes:
        group: the conversation of the call, or its trace.
        is_continuation: the conversation has a name and no answer of the model was sent along, so
            perhaps only new messages were sent.
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
    where: str
    row: int
    line: int | None


def calls_of_document(row: SourceRow) -> Iterator[ModelCall | Problem]:
    """The spans of an export that hold messages: of model calls, and of whole agents."""
    for span in _spans(row.value):
        attributes = _attributes(span)
        if not _holds_messages(attributes, span):
            continue
        where = (
            f"{row.where}, span {text_or_none(span.get('spanId') or span.get('span_id')) or '?'}"
        )
        try:
            yield _call(span, attributes, row, where)
        except BadRowError as error:
            yield Problem(where=error.place(where), reason=str(error))
        except RecursionError:
            yield Problem(where=where, reason="not usable: nested too deeply")


def _spans(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in _objects(document, "resourceSpans", "resource_spans"):
        for scope in _objects(resource, "scopeSpans", "scope_spans", "instrumentationLibrarySpans"):
            yield from _objects(scope, "spans")


def _objects(owner: Mapping[str, Any], *keys: str) -> list[dict[str, Any]]:
    value = next((owner[key] for key in keys if key in owner), None)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _attributes(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as plain values, from a list of keys with typed values or from an object."""
    given = owner.get("attributes")
    if isinstance(given, dict):
        return given
    pairs = {
        each["key"]: _plain(each.get("value"))
        for each in _objects(owner, "attributes")
        if isinstance(each.get("key"), str)
    }
    for event in _objects(owner, "events"):
        if event.get("name") == "gen_ai.client.inference.operation.details":
            pairs |= _attributes(event)
    return pairs


def _plain(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return value
    [(kind, inner)] = value.items()
    if kind == "arrayValue":
        return (
            [_plain(each) for each in inner.get("values", [])]
            if isinstance(inner, dict) and isinstance(inner.get("values", []), list)
            else []
        )
    if kind == "kvlistValue":
        pairs = _objects(object_or_empty(inner), "values")
        return {
            each["key"]: _plain(each.get("value"))
            for each in pairs
            if isinstance(each.get("key"), str)
        }
    return inner if kind in ("stringValue", "intValue", "doubleValue", "boolValue") else value


def _holds_messages(attributes: Mapping[str, Any], span: Mapping[str, Any]) -> bool:
    return (
        INPUT in attributes
        or OUTPUT in attributes
        or any(event.get("name") == CHOICE for event in _objects(span, "events"))
    )


def _call(
    span: Mapping[str, Any], attributes: Mapping[str, Any], row: SourceRow, where: str
) -> ModelCall:
    system = decode_nested(attributes.get(SYSTEM))
    sent = _messages(decode_nested(attributes.get(INPUT)), "user")
    answered = _messages(decode_nested(attributes.get(OUTPUT)), "assistant")
    reason = _finish_reason(attributes)
    if not sent and not answered:
        sent, answered, reason = _from_events(span, reason)
    if system:
        sent = [
            *_messages(
                [{"role": "system", "parts": system}] if isinstance(system, list) else str(system),
                "system",
            ),
            *sent,
        ]
    status = object_or_empty(span.get("status"))
    failed = status.get("code") in (2, "STATUS_CODE_ERROR", "ERROR")
    if not answered and not failed:
        raise BadRowError(
            "no answer of the model, expected gen_ai.output.messages or an event gen_ai.choice"
        )
    trace = text_or_none(span.get("traceId") or span.get("trace_id")) or "trace"
    conversation = text_or_none(attributes.get("gen_ai.conversation.id"))
    start = span.get("startTimeUnixNano", span.get("start_time_unix_nano"))
    return ModelCall(
        group=conversation or trace,
        is_agent=attributes.get("gen_ai.operation.name", "chat") not in CALLS,
        trace=trace,
        start=int(start)
        if isinstance(start, int | str) and str(start).isdecimal() and len(str(start)) < 30
        else 0,
        input=tuple(sent),
        output=tuple(answered),
        is_continuation=conversation is not None
        and not any(message.role == "assistant" for message in sent),
        finish_reason=reason,
        error=(
            text_or_none(status.get("message"))
            or text_or_none(attributes.get("error.type"))
            or "error"
        )
        if failed
        else None,
        attributes=attributes,
        where=where,
        row=row.index,
        line=row.line,
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
        raise BadRowError(
            f"{given!r:.60} is not a message, expected an object with 'role' and 'parts'", index
        )
    fields = {"role": role, **given}
    parts = fields.get("parts")
    if not isinstance(parts, list):
        return [turn.message for turn in read_message(fields, index)]
    content, calls, results = _sorted_parts(parts, index)
    if results and not content and not calls:
        return results
    messages = [turn.message for turn in read_message({**fields, "content": content}, index)]
    if calls:
        if messages[-1].role != "assistant":
            raise BadRowError("tool calls may only stand in an assistant's message", index)
        messages[-1] = messages[-1].model_copy(
            update={"tool_calls": (*messages[-1].tool_calls, *calls)}
        )
    return [*results, *messages]


def _sorted_parts(
    parts: Sequence[Any], index: int
) -> tuple[list[Any], list[ToolCall], list[Message]]:
    """The parts that are content, the calls and the results."""
    content: list[Any] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "reasoning"):
            said = part.get("content")
            shown_as = kind if kind == "text" else "thinking"
            content.append({"type": shown_as, "text": said, "thinking": said})
        elif kind == "tool_call":
            fields = {key: part.get(key) for key in ("id", "name", "arguments")}
            calls.append(read_tool_call(fields, index))
        elif kind == "tool_call_response":
            results += _results(part, index)
        elif kind in ("blob", "uri", "file"):
            content.append({"type": text_or_none(part.get("modality")) or kind})
        else:
            content.append(part)
    return content, calls, results


def _results(part: Mapping[str, Any], index: int) -> list[Message]:
    content = next(
        (part[key] for key in ("response", "result", "content") if part.get(key) is not None), None
    )
    if isinstance(content, bool | int | float):
        content = str(content)
    fields = {"role": "tool", "content": content, "tool_call_id": part.get("id")}
    return [turn.message for turn in read_message(fields, index)]


def _from_events(
    span: Mapping[str, Any], reason: str | None
) -> tuple[list[Message], list[Message], str | None]:
    """The older form: an event for each message, and one for each choice."""
    sent: list[Message] = []
    answered: list[Message] = []
    for index, event in enumerate(_objects(span, "events")):
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
            answered = _messages(
                [message]
                if isinstance(message, dict)
                else message or [{**fields, "role": "assistant"}],
                "assistant",
            )
            reason = text_or_none(fields.get("finish_reason")) or reason
    return sent, answered, reason


def _finish_reason(attributes: Mapping[str, Any]) -> str | None:
    reasons = decode_nested(attributes.get("gen_ai.response.finish_reasons"))
    if isinstance(reasons, list) and reasons:
        return text_or_none(reasons[0])
    output = decode_nested(attributes.get(OUTPUT))
    return (
        text_or_none(output[-1].get("finish_reason"))
        if isinstance(output, list) and output and isinstance(output[-1], dict)
        else None
    )
