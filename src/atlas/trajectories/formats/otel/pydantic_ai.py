"""Pydantic AI: `events` of a call, `all_messages_events` or `all_messages` of an agent."""

from __future__ import annotations

from typing import Any

from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.otel.exchange import Exchange
from atlas.trajectories.formats.otel.spans import Span

EVENTS = "events"
AGENT = ("pydantic_ai.all_messages", "all_messages_events")
PARAMETERS = "model_request_parameters"
METADATA = (
    "logfire",
    "model_name",
    "agent_name",
    "final_result",
    *(
        f"model_request_parameters.{name}"
        for name in (
            "output_mode",
            "output_object",
            "allow_text_output",
            "allow_image_output",
            "builtin_tools",
            "native_tools",
            "tool_visibility",
            "revealed_tool_names",
            "deferred_capability_ids",
            "prompted_output_template",
            "instruction_parts",
            "thinking",
            *(
                f"{tools}.{name}"
                for tools in ("function_tools", "output_tools")
                for name in (
                    "outer_typed_dict_key",
                    "strict",
                    "sequential",
                    "kind",
                    "metadata",
                    "timeout",
                    "defer_loading",
                )
            ),
        )
    ),
)


def exchange_of(span: Span) -> Exchange | None:
    """What a span says in this convention; None where it says nothing."""
    given = span.attributes
    agent = given.get("agent_name", given.get("gen_ai.agent.name"))
    for key in AGENT:
        told = decode_nested(given.get(key))
        if isinstance(told, list):
            system = given.get("gen_ai.system_instructions")
            used = (*AGENT, "gen_ai.system_instructions")
            return Exchange("agent", sent=[], answered=told, used=used, system=system, agent=agent)
    if "gen_ai.tool.name" in given and "tool_response" in given:
        name, id_ = given.get("gen_ai.tool.name"), given.get("gen_ai.tool.call.id")
        result = given["tool_response"]
        return Exchange("tool", sent=None, answered=result, used=(), name=name, id=id_)
    told = decode_nested(given.get(EVENTS))
    if not isinstance(told, list):
        return None
    answers = [each for each in told if _is_choice(each)]
    return Exchange(
        "model",
        sent=[each for each in told if not _is_choice(each)],
        answered=answers,
        used=(EVENTS,),
        tools=tools_of(given),
        finish_reason=None,
        agent=agent,
    )


def tools_of(given: dict[str, Any]) -> list[Any] | None:
    """The schemas of the tools in the parameters of a request."""
    parameters = decode_nested(given.get(PARAMETERS))
    if not isinstance(parameters, dict):
        return None
    tools = []
    for key in ("function_tools", "output_tools"):
        for tool in parameters.get(key) or []:
            if isinstance(tool, dict):
                kept = {
                    name: tool[name]
                    for name in ("name", "description", "parameters_json_schema")
                    if tool.get(name) is not None
                }
                kept["parameters"] = kept.pop("parameters_json_schema", {})
                tools.append({"type": "function", "function": kept})
    return tools


def _is_choice(event: Any) -> bool:
    return isinstance(event, dict) and (
        event.get("event.name") == "gen_ai.choice" or "message" in event
    )
