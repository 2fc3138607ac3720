"""Spans in the containers that exporters write: `row -> spans`, each with plain attributes.

OTLP as JSON (spans and log records), flat spans as console exporters, Phoenix, Logfire or
ClickHouse write them, and Jaeger's. Keys are in snake case, camel case or capitalized.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from atlas.trajectories.formats.agent_logs import objects_of
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import decode_nested

SCALARS = ("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue")
TRACE_IDS = ("traceId", "trace_id", "traceID", "TraceId", "context.trace_id")
SPAN_IDS = ("spanId", "span_id", "spanID", "SpanId", "context.span_id", "id")
PARENT_IDS = ("parentSpanId", "parent_span_id", "parent_id", "parentId", "ParentSpanId")
NAMES = ("name", "span_name", "spanName", "operationName", "SpanName")
STARTS = (
    "startTimeUnixNano",
    "start_time_unix_nano",
    "start_time",
    "startTime",
    "start_timestamp",
    "Timestamp",
    "timestamp",
)
ATTRIBUTES = ("attributes", "SpanAttributes", "span_attributes", "tags")
EVENTS = ("events", "otel_events", "logs")
DOCUMENTS = ("resourceSpans", "resource_spans", "resourceLogs", "resource_logs")
FAILED = (2, "2", "STATUS_CODE_ERROR", "ERROR", "Error", "StatusCode.ERROR")
DETAILS_EVENT = "gen_ai.client.inference.operation.details"
# All that a container or a span may have, in any of the spellings.
KNOWN = frozenset(
    (
        *DOCUMENTS,
        *TRACE_IDS,
        *SPAN_IDS,
        *PARENT_IDS,
        *NAMES,
        *STARTS,
        *ATTRIBUTES,
        *EVENTS,
        *("resource", "schemaUrl", "schema_url", "scope", "instrumentationLibrary", "spans"),
        *("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "scopeLogs", "scope_logs"),
        *("logRecords", "log_records", "data", "kind", "SpanKind", "span_kind", "status"),
        *("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime", "end_timestamp"),
        *("EndTime", "duration", "Duration", "duration_ms", "traceState", "trace_state"),
        *("TraceState", "flags", "links", "Links", "droppedAttributesCount"),
        *("droppedEventsCount", "droppedLinksCount", "dropped_attributes_count"),
        *("dropped_events_count", "dropped_links_count", "context", "spanContext", "parent"),
        *("parentSpanContext", "references", "status_code", "status_message"),
        *("StatusCode", "StatusMessage", "otel_status_code", "otel_status_message"),
        *("ServiceName", "service_name", "ResourceAttributes", "resource_attributes"),
        *(
            "ScopeName",
            "ScopeVersion",
            "scopeName",
            "spanName",
            "otel_scope_name",
            "otel_scope_version",
        ),
        *("instrumentationScope", "instrumentation_scope", "timeUnixNano", "time_unix_nano"),
        *("observedTimeUnixNano", "severityNumber", "severityText", "severity_number"),
        *("severity_text", "eventName", "event_name", "body", "processID", "processes"),
        *("process", "warnings", "operationName", "is_remote", "level", "message", "log_level"),
        *("span_type", "project_id", "project", "start_time_unix_nano", "id"),
    )
)
MAX_DEPTH = 40
# Phoenix has the kind of a span in a column of its own.
KINDS = ("LLM", "TOOL", "AGENT", "CHAIN", "RETRIEVER", "EMBEDDING", "RERANKER", "EVALUATOR")
OF_MODELS = ("gen_ai.", "llm.", "ai.operationId", "openinference.")
# Columns of a table of spans.
COLUMN = "attributes."


@dataclass(slots=True)
class Span:
    """One span.

    Attributes:
        events: names and attributes; what a log record says is an event of its span.
        error: what went wrong, where it failed.
        rest: fields that are not known.
    """

    trace: str
    id: str
    parent: str | None
    name: str
    start: Any
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    error: str | None = None
    rest: dict[str, Any] = field(default_factory=dict)


def is_spans(row: Any) -> bool:
    """Whether a row holds spans."""
    if not isinstance(row, dict):
        return False
    if any(isinstance(row.get(key), list) for key in DOCUMENTS):
        return True
    return _is_jaeger(row) or _is_span(row)


def spans_of(row: Mapping[str, Any]) -> Iterator[Span]:
    """The spans of a row; a log record is a span without a name that has one event.

    What a container holds besides is a span without an id, so that it is not lost.
    """
    if _is_jaeger(row):
        yield from _rest_of(row)
        for trace in objects_of(row, "data"):
            yield from _rest_of(trace)
            yield from map(_span, objects_of(trace, "spans"))
        return
    resources = [*objects_of(row, *DOCUMENTS[:2]), *objects_of(row, *DOCUMENTS[2:])]
    if not resources and _is_span(row):
        yield _span(row)
        return
    yield from _rest_of(row)
    for resource in resources:
        yield from _rest_of(resource)
        for scope in objects_of(
            resource, "scopeSpans", "scope_spans", "instrumentationLibrarySpans"
        ):
            yield from _rest_of(scope)
            yield from map(_span, objects_of(scope, "spans"))
        for scope in objects_of(resource, "scopeLogs", "scope_logs"):
            yield from _rest_of(scope)
            yield from map(_log_record, objects_of(scope, "logRecords", "log_records"))


def _rest_of(owner: Mapping[str, Any]) -> Iterator[Span]:
    if rest := _unknown(owner):
        yield Span("", "", None, "", None, {}, rest=rest)


def _unknown(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in owner.items()
        if isinstance(key, str) and key not in KNOWN and not key.startswith(COLUMN)
    }


def _is_jaeger(row: Mapping[str, Any]) -> bool:
    return any("spans" in trace for trace in objects_of(row, "data"))


def _is_span(row: Mapping[str, Any]) -> bool:
    attributes = _attributes_of(row)
    context = object_or_empty(row.get("context", row.get("spanContext")))
    is_named = _first(row, TRACE_IDS) is not None or _first(context, TRACE_IDS) is not None
    has_attributes = bool(attributes) or any(
        isinstance(decode_nested(row.get(key)), dict | list) for key in ATTRIBUTES
    )
    # Only attributes of models tell a span that has no id.
    return has_attributes and (is_named or any(key.startswith(OF_MODELS) for key in attributes))


def _span(given: Mapping[str, Any]) -> Span:
    context = object_or_empty(given.get("context", given.get("spanContext")))
    parent = _first(given, PARENT_IDS) or _first(object_or_empty(given.get("parent")), SPAN_IDS)
    parent = parent or _first(object_or_empty(given.get("parentSpanContext")), SPAN_IDS)
    for reference in objects_of(given, "references"):
        parent = parent or _first(reference, SPAN_IDS)
    attributes = _attributes_of(given)
    kind = given.get("span_kind")
    if isinstance(kind, str) and kind in KINDS:
        attributes.setdefault("openinference.span.kind", kind)
    events: list[tuple[str, dict[str, Any]]] = []
    for event in _events_of(given):
        inner = _attributes_of(event) or _pairs(event.get("fields"))
        name = text_or_none(event.get("name")) or text_or_none(event.get("event_name"))
        name = name or text_or_none(inner.get("event.name", inner.get("event"))) or ""
        if name == DETAILS_EVENT:
            attributes |= inner
        else:
            events.append((name, inner))
    return Span(
        trace=str(_first(given, TRACE_IDS) or _first(context, TRACE_IDS) or "trace"),
        id=str(_first(context, SPAN_IDS) or _first(given, SPAN_IDS) or ""),
        parent=None if parent is None else str(parent),
        name=text_or_none(_first(given, NAMES)) or "",
        start=_first(given, STARTS),
        attributes=attributes,
        events=events,
        error=_error(given, attributes),
        rest=_unknown(given),
    )


def _log_record(given: Mapping[str, Any]) -> Span:
    attributes = _attributes_of(given)
    body = plain(given.get("body"))
    fields = attributes | (body if isinstance(body, dict) else {"content": body})
    name = text_or_none(given.get("eventName", given.get("event_name")))
    name = name or text_or_none(attributes.get("event.name")) or ""
    span = Span(
        trace=str(_first(given, TRACE_IDS) or "trace"),
        id=str(_first(given, SPAN_IDS[:-1]) or ""),
        parent=None,
        name="",
        start=_first(given, ("timeUnixNano", "time_unix_nano", "observedTimeUnixNano")),
        attributes=dict(attributes) if name == DETAILS_EVENT else {},
        rest=_unknown(given),
    )
    if name != DETAILS_EVENT:
        span.events.append((name, fields))
    return span


def _attributes_of(owner: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as plain values: from an object, typed pairs, a JSON text or columns."""
    found: dict[str, Any] = {}
    for key in ATTRIBUTES:
        given = decode_nested(owner.get(key))
        if isinstance(given, dict):
            found |= {name: plain(value) for name, value in given.items() if isinstance(name, str)}
        else:
            found |= _pairs(given)
    for key, value in owner.items():
        if isinstance(key, str) and key.startswith(COLUMN) and value is not None:
            found[key.removeprefix(COLUMN)] = value
    return found


def _events_of(owner: Mapping[str, Any]) -> list[dict[str, Any]]:
    for key in EVENTS:
        given = decode_nested(owner.get(key))
        if isinstance(given, list):
            return [each for each in given if isinstance(each, dict)]
    return []


def _pairs(given: Any, depth: int = 0) -> dict[str, Any]:
    """Pairs of keys and values; anything else gets a key of its own."""
    found: dict[str, Any] = {}
    for number, each in enumerate(given if isinstance(given, list) else []):
        is_pair = isinstance(each, dict) and isinstance(each.get("key"), str)
        if is_pair:
            found[each["key"]] = plain(each.get("value"), depth)
        if not is_pair or each.keys() - {"key", "value", "type"}:
            found[f"without key {number}"] = each
    return found


def plain(value: Any, depth: int = 0) -> Any:
    """A value without OTLP's types, to a depth that no exporter writes."""
    if not isinstance(value, dict) or len(value) != 1 or depth > MAX_DEPTH:
        return value
    [(kind, inner)] = value.items()
    if kind == "arrayValue":
        values = object_or_empty(inner).get("values")
        if isinstance(values, list):
            return [plain(each, depth + 1) for each in values]
        return value if inner else []
    if kind == "values" and isinstance(inner, list):
        return [plain(each, depth + 1) for each in inner]
    if kind == "kvlistValue":
        return _pairs(object_or_empty(inner).get("values"), depth + 1)
    return inner if kind in SCALARS else value


def _error(given: Mapping[str, Any], attributes: Mapping[str, Any]) -> str | None:
    status = given.get("status")
    fields = object_or_empty(status)
    code = next(
        (
            each
            for each in (
                fields.get("code", fields.get("status_code")),
                given.get("status_code", given.get("otel_status_code")),
                given.get("StatusCode", status),
            )
            if isinstance(each, str | int)
        ),
        None,
    )
    if code not in FAILED:
        return None
    messages = (
        fields.get("message"),
        fields.get("description"),
        given.get("status_message", given.get("otel_status_message", given.get("StatusMessage"))),
        attributes.get("error.type"),
    )
    return next(filter(None, map(text_or_none, messages)), "error")


def _first(owner: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next(
        (
            owner[key]
            for key in keys
            if isinstance(owner.get(key), str | int | float) and owner[key] != ""
        ),
        None,
    )
