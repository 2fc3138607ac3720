"""Google's Agent Development Kit: whole requests and responses as JSON attributes."""

from __future__ import annotations

from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.otel.exchange import Exchange
from atlas.trajectories.formats.otel.spans import Span

REQUEST = "gcp.vertex.agent.llm_request"
RESPONSE = "gcp.vertex.agent.llm_response"
RESULT = "gcp.vertex.agent.tool_response"
METADATA = ("gcp",)


def exchange_of(span: Span) -> Exchange | None:
    """What a span says in this convention; None where it says nothing."""
    given = span.attributes
    if RESULT in given:
        return Exchange(
            "tool",
            sent=None,
            answered=given[RESULT],
            used=(),
            name=given.get("gen_ai.tool.name"),
            id=given.get("gen_ai.tool.call.id"),
        )
    request, response = decode_nested(given.get(REQUEST)), decode_nested(given.get(RESPONSE))
    if not isinstance(request, dict) or not request or not isinstance(response, dict):
        return None
    return Exchange(
        "model",
        sent={key: value for key, value in request.items() if key != "model"},
        answered=response.get("content", response) if response else None,
        used=(REQUEST, RESPONSE),
        finish_reason=response.get("finish_reason"),
    )
