"""Traceloop's OpenLLMetry: numbered attributes (`gen_ai.prompt.0.role`).

LangSmith, Langfuse and Braintrust write whole requests as JSON, under these names or their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.frameworks.shapes import parts_in_text
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.otel.attributes import nested
from atlas.trajectories.formats.otel.exchange import Exchange
from atlas.trajectories.formats.otel.spans import Span

PAIRS = (
    ("gen_ai.prompt", "gen_ai.completion"),
    ("llm.prompts", "llm.completions"),
    ("langfuse.observation.input", "langfuse.observation.output"),
    ("braintrust.input_json", "braintrust.output_json"),
    ("traceloop.entity.input", "traceloop.entity.output"),
)
TOOLS = "llm.request.functions"
AGENTS = ("workflow", "agent", "task", "chain", "function", "span")
METADATA = (
    "traceloop",
    "llm.usage",
    "llm.headers",
    "llm.is_streaming",
    "llm.user",
    "llm.chat",
    "braintrust",
    "litellm",
    "hidden_params",
    "gen_ai.cost",
)


def exchange_of(span: Span) -> Exchange | None:
    """What a span says in this convention; None where it says nothing."""
    given = span.attributes
    kind = given.get("traceloop.span.kind")
    kind = kind or given.get("langfuse.observation.type", given.get("langsmith.span.kind"))
    described = decode_nested(given.get("braintrust.span_attributes"))
    kind = kind or (described.get("type") if isinstance(described, dict) else None)
    if kind == "tool":
        name = given.get("gen_ai.tool.name", given.get("traceloop.entity.name", span.name))
        keys = [output for _, output in PAIRS if given.get(output) is not None]
        result = given[keys[0]] if keys else None
        id_ = given.get("gen_ai.tool.call.id")
        return Exchange(
            "tool", sent=None, answered=_entity(decode_nested(result)), used=(), name=name, id=id_
        )
    for sent_key, answered_key in PAIRS:
        sent, answered = _numbered(given, sent_key), _numbered(given, answered_key)
        if sent is None and answered is None:
            continue
        is_entity = sent_key.startswith("traceloop")
        if kind in AGENTS or is_entity:
            if sent is None or answered is None or kind is None:
                return None
            agent = given.get("gen_ai.agent.name", given.get("traceloop.entity.name"))
            used = (sent_key, answered_key)
            return Exchange("agent", sent=sent, answered=answered, used=used, agent=agent)
        return Exchange(
            "model",
            sent=sent,
            answered=answered,
            used=(sent_key, answered_key, TOOLS),
            tools=nested(given, TOOLS),
            finish_reason=_finish_reason(answered),
            agent=given.get("gen_ai.agent.name"),
        )
    return None


def _numbered(given: Mapping[str, Any], prefix: str) -> Any:
    """The messages under numbers, or what stands under the name itself."""
    start = f"{prefix}."
    kept = {
        key: value
        for key, value in given.items()
        if key == prefix or (key.startswith(start) and key[len(start) : len(start) + 1].isdecimal())
    }
    found = nested(kept, prefix)
    return [*map(_with_parts, found)] if isinstance(found, list) else found


def _with_parts(message: Any) -> Any:
    """A message with its parts, which are written as a JSON text where there are several."""
    if not isinstance(message, dict) or message.get("role") == "tool":
        return message
    return {**message, "content": parts_in_text(message.get("content"))}


def _entity(value: Any) -> Any:
    return value.get("output", value) if isinstance(value, dict) else value


def _finish_reason(answered: Any) -> Any:
    last = answered[-1] if isinstance(answered, list) and answered else None
    return last.get("finish_reason") if isinstance(last, dict) else None
