"""Spans of OpenTelemetry that hold what a model was given and what it answered, as JSON.

The model calls of one conversation are one trajectory (`model_calls`). Instrumentations name the
messages differently (`conventions`), and exporters write different containers (`spans`):
OTLP documents, or one span a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from atlas.config import Config
from atlas.records import Problem
from atlas.trajectories.formats.agent_logs import problem_of
from atlas.trajectories.formats.conversations import read_tools
from atlas.trajectories.formats.fields import text_or_none
from atlas.trajectories.formats.frameworks.accounting import accounted, setting_paths
from atlas.trajectories.formats.frameworks.messages import FrameworkMessages
from atlas.trajectories.formats.frameworks.shapes import refuse_cut, tells_messages
from atlas.trajectories.formats.merged_calls import read_record
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.model_calls import (
    ModelCall,
    RecordedCalls,
    ToolRun,
    nanoseconds,
    result_of_run,
    without_repeated,
)
from atlas.trajectories.formats.otel.attributes import unflattened, without
from atlas.trajectories.formats.otel.conventions import METADATA, exchange_of, session_of
from atlas.trajectories.formats.otel.exchange import Exchange
from atlas.trajectories.formats.otel.genai import CHOICE, CONTENT_EVENTS, EVENT_ROLES
from atlas.trajectories.formats.otel.spans import Span, is_spans, spans_of
from atlas.trajectories.formats.rows import BadRowError, Item, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

MODELS = (
    "gen_ai.request.model",
    "llm.model_name",
    "ai.model.id",
    "llm.request.model",
    "model_name",
)
READ_EVENTS = (*EVENT_ROLES, *CONTENT_EVENTS, CHOICE)
KINDS = ("openinference.span.kind", "traceloop.span.kind", "gen_ai.operation.name")
# Names under which agents and tools repeat what model calls hold.
NOT_MESSAGES = (
    "traceloop.entity",
    "input",
    "output",
    "ai.prompt",
    "ai.values",
    "gen_ai.tool",
    "tool_arguments",
    "langfuse",
    "gcp.vertex.agent",
    "llm.prompts",
    "retrieval",
    "reranker",
    "metadata",
    *("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt", "gen_ai.completion"),
)
# Spans that repeat a request in the words of a service.
COPIES = ("raw_gen_ai_request",)
NO_ANSWER = "no answer of the model, expected gen_ai.output.messages or an event gen_ai.choice"


class OTelFormat:
    """Reads spans of model calls: an export a file or a line, or a span a line."""

    # "other_events" are those of a span that hold no messages.
    metadata = (
        *METADATA,
        *setting_paths(),
        "other_events.exception",
        "other_events.ai",
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return is_spans(row)

    def read(self, source: SourceFile) -> Iterator[Item]:
        spans: dict[tuple[str, str], tuple[Span, SourceRow]] = {}
        num_problems = 0
        for row in source.rows():
            if isinstance(row, Problem):
                num_problems += 1
                yield row
            elif self.matches(row.value):
                for span in spans_of(row.value):
                    _gather(span, row.part(None), spans)
            else:
                num_problems += 1
                reason = "not an export of spans, expected an object with 'resourceSpans'"
                yield Problem(where=row.where, reason=f"{reason} or a span with 'attributes'")
        record = RecordedCalls()
        for span, row in spans.values():
            where = f"{row.where}, span {span.id or '?'}"
            try:
                _record(span, SourceRow(row.file, row.index, None, where, row.line), record)
            except (BadRowError, RecursionError, ValidationError) as error:
                num_problems += 1
                yield problem_of(error, where)
        if not record.calls and not num_problems:
            reason = "no span holds messages. Was the content of messages captured?"
            yield Problem(where=source.name, reason=reason)
        yield from read_record(record, source.name, "otel", self.metadata, source.ignored)


def _gather(
    span: Span, row: SourceRow, spans: dict[tuple[str, str], tuple[Span, SourceRow]]
) -> None:
    """Add a span, or what a log record says to its span."""
    key = (span.trace, span.id or f"without id {len(spans)}")
    if key not in spans:
        spans[key] = (span, row)
        return
    known, place = spans[key]
    # A log record has no name. A span that was exported twice is one.
    first, second = (known, span) if known.name or not span.name else (span, known)
    first.attributes = {**second.attributes, **first.attributes}
    first.rest = {**second.rest, **first.rest}
    first.events += [event for event in second.events if event not in first.events]
    first.error = first.error or second.error
    spans[key] = (first, place)


def _record(span: Span, row: SourceRow, record: RecordedCalls) -> None:
    if span.parent is not None:
        record.parents[span.trace, span.id] = span.parent
    exchange = exchange_of(span)
    if exchange is None:
        strange = None if span.name in COPIES else _strange(span)
        if strange is not None:
            raise BadRowError(f"messages under a name that is not known: {strange}")
        if span.rest:
            record.rest.append(row.part({"span" if span.id else "document": span.rest}))
        if not span.id:
            return
        record.others.setdefault(span.trace, Counter())[_kind(span)] += 1
    elif exchange.kind == "tool":
        record.tool_spans.add((span.trace, span.id))
        if exchange.answered is None:
            record.others.setdefault(span.trace, Counter())["tool without a result"] += 1
        else:
            record.runs.append(
                ToolRun(
                    trace=span.trace,
                    name=text_or_none(exchange.name),
                    id=text_or_none(exchange.id),
                    start=nanoseconds(span.start),
                    result=result_of_run(exchange.answered),
                )
            )
    elif exchange.kind == "agent":
        try:
            record.calls.append(_call(span, exchange, row, record))
        except (BadRowError, ValidationError):
            record.others.setdefault(span.trace, Counter())["agent"] += 1
    else:
        record.calls.append(_call(span, exchange, row, record))


def _strange(span: Span) -> str | None:
    """The name of a field of a span that holds messages although no convention knows it."""
    fields = {name: attributes for name, attributes in span.events if name not in READ_EVENTS}
    names = {**without(span.attributes, NOT_MESSAGES), **fields, **span.rest}
    return next((name for name, value in names.items() if tells_messages(value)), None)


def _kind(span: Span) -> str:
    """What a span says of itself, for the count of those that were not read."""
    found = (span.attributes.get(key) for key in KINDS)
    return next((text for text in found if isinstance(text, str) and text), "other")


def _call(span: Span, exchange: Exchange, row: SourceRow, record: RecordedCalls) -> ModelCall:
    reader = FrameworkMessages()
    system = reader.sent(_system(exchange.system))
    sent = system + reader.sent(exchange.sent)
    answered = reader.answered(exchange.answered) if exchange.kind == "model" else None
    if answered is None:
        answered = [*without_repeated(sent, reader.worked(exchange.answered))]
    if reader.system is not None and not any(message.role == "system" for message in sent):
        sent = reader.sent([{"role": "system", "content": reader.system}]) + sent
    if not answered and span.error is None:
        raise BadRowError(NO_ANSWER)
    session, sends_new = session_of(span)
    tools = read_tools(exchange.tools) or read_tools(reader.tools) or ()
    model = next((span.attributes[key] for key in MODELS if span.attributes.get(key)), None)
    agent = text_or_none(exchange.agent)
    details = {"gen_ai.request.model": model, "gen_ai.agent.name": agent}
    return ModelCall(
        trace=span.trace,
        span=span.id,
        row=row,
        accounted=partial(_accounted, span, exchange),
        session=session,
        sends_new=sends_new,
        is_agent=exchange.kind == "agent",
        start=nanoseconds(span.start),
        input=record.kept(sent),
        output=record.kept(answered),
        finish_reason=text_or_none(exchange.finish_reason),
        error=span.error,
        agent=agent,
        tools=tools,
        details={key: text for key, text in details.items() if isinstance(text, str)},
        notes=tuple(reader.notes),
    )


def _system(value: Any) -> Any:
    """Instructions beside the messages: a text, or the parts of one message."""
    decoded = decode_nested(value)
    if not decoded:
        return None
    refuse_cut(decoded)
    parts = decoded if isinstance(decoded, list | str) else str(value)
    return [{"role": "system", "content": parts}]


def _accounted(span: Span, exchange: Exchange) -> dict[str, Any]:
    """What has to come out of a span."""
    others: Mapping[str, Any] = {
        name: attributes for name, attributes in span.events if name not in READ_EVENTS
    }
    return {
        "system": decode_nested(exchange.system),
        **accounted("input", decode_nested(exchange.sent)),
        **accounted("output", decode_nested(exchange.answered)),
        "tools": decode_nested(exchange.tools),
        "attributes": unflattened(without(span.attributes, exchange.used)),
        "other_events": unflattened(others),
        "span": span.rest,
    }
