"""How the conventions of instrumentations name what a model was given and what it answered.

`span -> exchange`; the first convention that knows a span reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atlas.trajectories.formats import (
    otel_adk,
    otel_aisdk,
    otel_genai,
    otel_openinference,
    otel_pydantic_ai,
    otel_traceloop,
)
from atlas.trajectories.formats.otel_exchange import Exchange
from atlas.trajectories.formats.otel_spans import Span

# Those with more of the messages first: instrumentations may write several at once.
CONVENTIONS: tuple[Callable[[Span], Exchange | None], ...] = (
    otel_adk.exchange_of,
    otel_aisdk.exchange_of,
    otel_genai.exchange_of,
    otel_pydantic_ai.exchange_of,
    otel_openinference.exchange_of,
    otel_traceloop.exchange_of,
)
# Facts about a call, as nested attributes of what is accounted for.
METADATA: tuple[str, ...] = tuple(
    f"attributes.{name}"
    for name in (
        *otel_genai.METADATA,
        *otel_openinference.METADATA,
        *otel_traceloop.METADATA,
        *otel_aisdk.METADATA,
        *otel_pydantic_ai.METADATA,
        *otel_adk.METADATA,
        "server",
        "client",
        "network",
        "net",
        "http",
        "url",
        "peer",
        "service",
        "telemetry",
        "otel",
        "span",
        "internal",
        "error",
        "exception",
        "thread",
        "code",
        "session",
        "user",
        "deployment",
        "operation",
        "resource",
        "langsmith",
        "langfuse",
    )
)


def exchange_of(span: Span) -> Exchange | None:
    """What a span says of a model call, an agent or a tool; None for any other span."""
    for convention in CONVENTIONS:
        exchange = convention(span)
        if exchange is not None:
            return exchange
    return None


def session_of(span: Span) -> tuple[str | None, bool]:
    """The conversation that a span names, and whether it may send only what is new."""
    for key, sends_new in (
        ("gen_ai.conversation.id", True),
        ("session.id", False),
        ("langfuse.session.id", False),
        ("traceloop.association.properties.session_id", False),
        ("ai.telemetry.metadata.sessionId", False),
        ("gcp.vertex.agent.session_id", False),
    ):
        value: Any = span.attributes.get(key)
        if isinstance(value, str) and value:
            return value, sends_new
    return None, False
