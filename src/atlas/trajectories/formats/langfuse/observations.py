"""One observation of Langfuse -> a model call, a run of a tool, or a count."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from atlas.records import Message, Outcome
from atlas.trajectories.formats.conversations import read_tools
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.frameworks.accounting import accounted
from atlas.trajectories.formats.frameworks.messages import FrameworkMessages
from atlas.trajectories.formats.frameworks.shapes import as_words, finish_reason_of, holds_messages
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.model_calls import (
    ModelCall,
    RecordedCalls,
    ToolRun,
    nanoseconds,
    result_of_run,
    without_repeated,
)
from atlas.trajectories.formats.otel.pydantic_ai import tools_of
from atlas.trajectories.formats.rows import BadRowError, SourceRow

# A trace repeats what its observations hold.
TRACE_FIELDS = frozenset(
    ("input", "output", "observations", "scores", "trace", "metadata", "corrections")
)
METADATA = tuple(
    key
    for name in (
        "project_id",
        "name",
        "environment",
        "level",
        "status_message",
        "model_parameters",
        "internal_model_id",
        "internal_model",
        "provided_model_name",
        "completion_start_time",
        "prompt_id",
        "prompt_name",
        "prompt_version",
        "time_to_first_token",
        "usage_details",
        "provided_usage_details",
        "cost_details",
        "provided_cost_details",
        "input_cost",
        "output_cost",
        "total_cost",
        "calculated_input_cost",
        "calculated_output_cost",
        "calculated_total_cost",
        "input_usage",
        "output_usage",
        "total_usage",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "unit",
        "input_price",
        "output_price",
        "total_price",
        "usage_pricing_tier_id",
        "usage_pricing_tier_name",
        "parent_observation_id",
        "event_ts",
        "is_deleted",
        "release",
        "user_id",
        "bookmarked",
        "public",
        "tags",
        "metadata",
        "latency",
        "trace_name",
    )
    for key in {
        name,
        "".join(part.title() if n else part for n, part in enumerate(name.split("_"))),
    }
)
FLAT = re.compile(r"(system|developer|user|human): ")
FLAT_NOTE = "what went in is one text, into which several messages were printed"
ANSWER_NOTE = "what came out is data, written as JSON"
DATA_NOTE = "what went in is data of a function, written as JSON"


def add_observation(
    given: Mapping[str, Any],
    trace: Mapping[str, Any],
    row: SourceRow,
    record: RecordedCalls,
    outcome: Outcome | None,
    scores: Mapping[str, Any],
) -> None:
    """Add an observation to what was recorded.

    Args:
        trace: what is known of its trace.
        outcome: what the scores of the trace say.
        scores: all of them, for the details.

    Raises:
        BadRowError: its messages cannot be read.
    """
    kind = str(given.get("type")).upper()
    name = str(given.get("traceId", given.get("trace_id")))
    id_ = str(given.get("id") or "")
    parent = given.get("parentObservationId", given.get("parent_observation_id"))
    if isinstance(parent, str) and parent:
        record.parents[name, id_] = parent
    start = nanoseconds(given.get("startTime", given.get("start_time", given.get("timestamp"))))
    sent, answered = _decoded(given.get("input")), _decoded(given.get("output"))
    if kind == "TOOL":
        record.tool_spans.add((name, id_))
        if answered is None:
            record.others.setdefault(name, Counter())["tool without a result"] += 1
        else:
            called = text_or_none(given.get("name")) or ""
            result = result_of_run(answered)
            called = called.rpartition(" ")[2]
            record.runs.append(ToolRun(name, called, None, start, result, arguments=sent))
        return
    is_model = kind == "GENERATION"
    may_tell = kind == "AGENT" or not parent
    if not is_model and not (may_tell and sent is not None and _tells(answered)):
        if sent is not None or answered is not None:
            record.others.setdefault(name, Counter())[kind] += 1
        return
    if is_model and sent is None and answered is None:
        record.others.setdefault(name, Counter())["GENERATION without input and output"] += 1
        return
    error = None
    if given.get("level") == "ERROR":
        message = given.get("statusMessage", given.get("status_message"))
        error = text_or_none(message) or "error"
    reader = FrameworkMessages()
    messages, said = _messages(sent, answered, reader, is_model)
    if not said and error is None:
        raise BadRowError("no answer of the model, expected it as 'output'")
    model = given.get("model", given.get("providedModelName", given.get("provided_model_name")))
    details = {"model": model, "session": trace.get("sessionId"), **scores}
    session = trace.get("sessionId", given.get("sessionId", given.get("session_id")))
    tools = _tools(given, reader)
    record.calls.append(
        ModelCall(
            trace=name,
            span=id_,
            row=row,
            accounted=partial(_accounted, given, trace, sent, answered, tools),
            session=text_or_none(session),
            is_agent=not is_model,
            start=start,
            input=record.kept(messages),
            output=record.kept(said),
            finish_reason=finish_reason_of(answered),
            error=error,
            tools=tools,
            details={key: value for key, value in details.items() if value is not None},
            outcome=outcome,
            notes=tuple(reader.notes),
        )
    )


def _messages(
    sent: Any, answered: Any, reader: FrameworkMessages, is_model: bool
) -> tuple[Sequence[Message], Sequence[Message]]:
    """What a model or an agent was given, and what it answered."""
    messages = reader.sent(_words(sent, reader))
    if isinstance(answered, dict | list) and not holds_messages(answered):
        reader.notes[ANSWER_NOTE] = None
    said: Sequence[Message]
    if is_model:
        said = reader.answered(as_words(answered))
    else:
        said = without_repeated(messages, reader.worked(as_words(answered)))
    if reader.system is not None and not any(message.role == "system" for message in messages):
        messages = reader.sent([{"role": "system", "content": reader.system}]) + messages
    return messages, said


def _decoded(value: Any) -> Any:
    """An input or output, which tables hold as a JSON text, sometimes twice."""
    if value == "None":
        # What Python printed instead of nothing.
        return None
    decoded = decode_nested(value)
    return decode_nested(decoded) if isinstance(decoded, str) else decoded


def _tells(answered: Any) -> bool:
    return isinstance(answered, str) or holds_messages(answered)


def _words(sent: Any, reader: FrameworkMessages) -> Any:
    """What went in: messages, a request, a text, or data as JSON text."""
    is_request = isinstance(sent, dict) and isinstance(sent.get("prompt"), str | list)
    is_texts = isinstance(sent, list) and all(isinstance(each, str) for each in sent)
    is_data = isinstance(sent, dict | list) and not holds_messages(sent)
    if is_data and not is_request and not is_texts:
        reader.notes[DATA_NOTE] = None
        return as_words(sent)
    if isinstance(sent, str) and FLAT.match(sent):
        reader.notes[FLAT_NOTE] = None
    return sent


def _tools(given: Mapping[str, Any], reader: FrameworkMessages) -> tuple[dict[str, Any], ...]:
    """The schemas beside the messages, in the metadata or in a field of their own."""
    if tools := read_tools(reader.tools):
        return tools
    metadata = object_or_empty(decode_nested(given.get("metadata")))
    attributes = object_or_empty(metadata.get("attributes"))
    for found in (metadata.get("tools"), attributes.get("gen_ai.tool.definitions")):
        decoded = decode_nested(found)
        if isinstance(decoded, list) and (tools := read_tools([*map(decode_nested, decoded)])):
            return tools
    if tools := read_tools(tools_of(attributes)):
        return tools
    named = object_or_empty(
        decode_nested(given.get("toolDefinitions", given.get("tool_definitions")))
    )
    schemas = [decode_nested(schema) for schema in named.values()]
    return tuple(schema for schema in schemas if isinstance(schema, dict))


def _accounted(
    given: Mapping[str, Any],
    trace: Mapping[str, Any],
    sent: Any,
    answered: Any,
    tools: tuple[dict[str, Any], ...],
) -> dict[str, Any]:
    """What has to come out of an observation."""
    copies = ("input", "output", "observations", "scores", "toolDefinitions", "tool_definitions")
    rest = {key: value for key, value in given.items() if key not in copies}
    return {
        **accounted("input", sent),
        **accounted("output", answered),
        "tools": list(tools),
        **rest,
        "trace": {key: value for key, value in trace.items() if key not in TRACE_FIELDS},
    }
