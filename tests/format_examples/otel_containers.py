"""Spans in the containers of exporters: `attributes of each span -> rows of a file`."""

from __future__ import annotations

import json
from typing import Any

Attributes = dict[str, Any]


def wrap(value: Any) -> Attributes:
    """A value as OTLP's JSON types it."""
    if isinstance(value, list):
        return {"arrayValue": {"values": [wrap(each) for each in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def otlp(spans: list[Attributes]) -> list[Any]:
    made = [
        {
            "traceId": "t1",
            "spanId": f"s{number}",
            "parentSpanId": "s9",
            "name": "call",
            "kind": 3,
            "startTimeUnixNano": str(1_700_000_000_000_000_000 + number),
            "endTimeUnixNano": "1700000000000000009",
            "attributes": [{"key": key, "value": wrap(value)} for key, value in span.items()],
            "status": {},
        }
        for number, span in enumerate(spans)
    ]
    scope = {"scope": {"name": "x"}, "spans": made}
    return [{"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [scope]}]}]


def otlp_lines(spans: list[Attributes]) -> list[Any]:
    """A document a line, a span in each, in snake case."""
    return [
        {
            "resource_spans": [
                {
                    "scope_spans": [
                        {
                            "spans": [
                                {
                                    "trace_id": "t1",
                                    "span_id": f"s{number}",
                                    "start_time_unix_nano": 1_700_000_000_000_000_000 + number,
                                    "attributes": span,
                                }
                            ]
                        }
                    ]
                }
            ]
        }
        for number, span in enumerate(spans)
    ]


def console(spans: list[Attributes]) -> list[Any]:
    return [
        {
            "name": "call",
            "context": {"trace_id": "0xt1", "span_id": f"0xs{number}", "trace_state": "[]"},
            "kind": "SpanKind.INTERNAL",
            "parent_id": None,
            "start_time": f"2026-01-01T00:00:0{number}.000000Z",
            "end_time": f"2026-01-01T00:00:0{number}.500000Z",
            "status": {"status_code": "OK"},
            "attributes": span,
            "events": [],
            "links": [],
            "resource": {"attributes": {"service.name": "x"}, "schema_url": ""},
        }
        for number, span in enumerate(spans)
    ]


def node(spans: list[Attributes]) -> list[Any]:
    return [
        {
            "traceId": "t1",
            "id": f"s{number}",
            "parentSpanContext": {"spanId": "s9"},
            "name": "call",
            "timestamp": 1_767_225_600_000_000 + number,
            "duration": 5.5,
            "attributes": span,
            "status": {"code": 0},
            "events": [],
        }
        for number, span in enumerate(spans)
    ]


def logfire(spans: list[Attributes]) -> list[Any]:
    return [
        {
            "trace_id": "t1",
            "span_id": f"s{number}",
            "parent_span_id": None,
            "span_name": "call",
            "start_timestamp": f"2026-01-01T00:00:0{number}Z",
            "otel_status_code": None,
            "attributes": json.dumps(span),
        }
        for number, span in enumerate(spans)
    ]


def clickhouse(spans: list[Attributes]) -> list[Any]:
    return [
        {
            "Timestamp": f"2026-01-01T00:00:0{number}Z",
            "TraceId": "t1",
            "SpanId": f"s{number}",
            "ParentSpanId": "",
            "SpanName": "call",
            "ServiceName": "x",
            "SpanAttributes": span,
            "StatusCode": "Unset",
        }
        for number, span in enumerate(spans)
    ]


def columns(spans: list[Attributes]) -> list[Any]:
    return [
        {
            "name": "call",
            "span_kind": "UNKNOWN",
            "context.trace_id": "t1",
            "context.span_id": f"s{number}",
            "start_time": f"2026-01-01T00:00:0{number}Z",
            "status_code": "OK",
            "parent_id": None,
            **{f"attributes.{key}": value for key, value in span.items()},
        }
        for number, span in enumerate(spans)
    ]


def jaeger(spans: list[Attributes]) -> list[Any]:
    made = [
        {
            "traceID": "t1",
            "spanID": f"s{number}",
            "operationName": "call",
            "references": [],
            "startTime": 1_767_225_600_000_000 + number,
            "duration": 5,
            "tags": [{"key": key, "type": "string", "value": value} for key, value in span.items()],
            "logs": [],
        }
        for number, span in enumerate(spans)
    ]
    return [{"data": [{"traceID": "t1", "spans": made, "processes": {}}], "total": 0}]


CONTAINERS = {
    "otlp": otlp,
    "otlp_lines": otlp_lines,
    "console": console,
    "node": node,
    "logfire": logfire,
    "clickhouse": clickhouse,
    "columns": columns,
    "jaeger": jaeger,
}
