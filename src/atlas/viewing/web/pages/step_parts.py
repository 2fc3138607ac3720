"""One step -> its observation, thought and action as texts, and its action in named parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.records import Message, Step, ToolCall
from atlas.viewing.web.pages.changed_spans import (
    ChangedSpan,
    Spans,
    compare_values,
    compare_words,
    write_value,
)
from atlas.viewing.web.pages.response_parts import split_response


@dataclass(frozen=True, slots=True)
class ActionPart:
    """A part of an action: its text (`name` is empty), a call, or an argument of the call before.

    `is_call`: the spans are the name of a function.
    """

    name: str
    spans: Spans
    is_call: bool = False


def observation_text(messages: Sequence[Message]) -> str:
    """The messages of an observation as one text; results of tools have the tool's name."""

    def text(message: Message) -> str:
        name = f"[{message.name}] " if message.name else ""
        return name + message.content

    return "\n".join(map(text, messages))


def action_text(step: Step) -> str:
    """The action as one text: what the environment executed, or calls with sorted arguments."""
    calls = step.response.tool_calls
    if calls:
        return "\n".join(f"{call.name}({_sorted(call)})" for call in calls)
    known = (step.action or "").strip()
    return known or split_response(step.response.content).action


def thought_text(step: Step) -> str:
    """What the response says apart from its action."""
    response = step.response
    parts = split_response(response.content, step.action, bool(response.tool_calls))
    said = (response.reasoning, parts.reasoning, parts.thought, parts.after)
    return "\n\n".join(filter(None, said))


def action_parts(step: Step) -> tuple[ActionPart, ...]:
    """The action with nothing marked."""
    return compare_actions(step, step)[0]


def compare_actions(left: Step, right: Step) -> tuple[tuple[ActionPart, ...], ...]:
    """The parts of both actions with what changed: calls by argument, texts by word."""
    calls, others = left.response.tool_calls, right.response.tool_calls
    if not (calls and others):
        if calls or others:
            return tuple(tuple(_mark_all(one)) for one in (left, right))
        texts = compare_words(action_text(left), action_text(right))
        return tuple((ActionPart("", spans),) if spans else () for spans in texts)
    of_left: list[ActionPart] = []
    of_right: list[ActionPart] = []
    for call, other in zip(calls, others, strict=False):
        one_side, other_side = _compare_calls(call, other)
        of_left += one_side
        of_right += other_side
    for side, rest in ((of_left, calls[len(others) :]), (of_right, others[len(calls) :])):
        for call in rest:
            side += _mark_call(call)
    return tuple(of_left), tuple(of_right)


def _compare_calls(left: ToolCall, right: ToolCall) -> tuple[list[ActionPart], list[ActionPart]]:
    names = compare_values(left.name, right.name)
    one, other = _arguments(left), _arguments(right)
    if one is None or other is None:
        texts = compare_words(left.arguments, right.arguments)
        return tuple(  # type: ignore[return-value]
            [ActionPart("", name, True), *([ActionPart("arguments", text)] if text else [])]
            for name, text in zip(names, texts, strict=True)
        )
    values = {key: compare_values(one[key], other[key]) for key in one if key in other}
    sides = []
    for side, mapping in enumerate((one, other)):
        parts = [ActionPart("", names[side], True)]
        for key, value in mapping.items():
            own = values[key][side] if key in values else (ChangedSpan(write_value(value), True),)
            parts.append(ActionPart(key, own))
        sides.append(parts)
    return sides[0], sides[1]


def _mark_all(step: Step) -> list[ActionPart]:
    """All of an action as changed."""
    if step.response.tool_calls:
        return [part for call in step.response.tool_calls for part in _mark_call(call)]
    text = action_text(step)
    return [ActionPart("", (ChangedSpan(text, True),))] if text else []


def _mark_call(call: ToolCall) -> list[ActionPart]:
    arguments = _arguments(call)
    if arguments is None:
        arguments = {"arguments": call.arguments}
    named = [
        ActionPart(key, (ChangedSpan(write_value(each), True),)) for key, each in arguments.items()
    ]
    return [ActionPart("", (ChangedSpan(call.name, True),), True), *named]


def _arguments(call: ToolCall) -> Mapping[str, Any] | None:
    """The arguments as an object; None if they are something else."""
    try:
        found = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _sorted(call: ToolCall) -> str:
    arguments = _arguments(call)
    if arguments is None:
        return call.arguments
    return json.dumps(arguments, sort_keys=True, ensure_ascii=False)
