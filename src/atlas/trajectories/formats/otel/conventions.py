"""How the conventions of instrumentations name what a model was given and what it answered.

`span -> exchange`; the first convention that knows a span reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atlas.trajectories.formats.otel import (
    adk,
    aisdk,
    genai,
    openinference,
    pydantic_ai,
    traceloop,
)
from atlas.trajectories.formats.otel.exchange import Exchange
from atlas.trajectories.formats.otel.spans import Span

# Those with more of the messages first: instrumentations may write several at once.
CONVENTIONS: tuple[Callable[[Span], Exchange | None], ...] = (
    adk.exchange_of,
    aisdk.exchange_of,
    genai.exchange_of,
    pydantic_ai.exchange_of,
    openinference.exchange_of,
    traceloop.exchange_of,
)
# Facts about a call, as nested attributes of what is accounted for.
METADATA: tuple[str, ...] = tuple(
    f"attributes.{name}"
    for name in (
        *genai.METADATA,
        *openinference.METADATA,
        *traceloop.METADATA,
        *aisdk.METADATA,
        *pydantic_ai.METADATA,
        *adk.METADATA,
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
