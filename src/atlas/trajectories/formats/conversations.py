"""Turns -> the prompt, the steps and what was seen last.

Every assistant turn after the prompt is a step; what stands between two of them is the later one's observation, tool
results in the order of the calls they answer. A training flag of the source becomes the steps' annotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from atlas.records import Annotation, Message, Source, Step, ToolCall, Trajectory
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    is_acknowledgement,
    outcome_of_row,
    parse_action,
    task_of_row,
)
from atlas.trajectories.formats.messages import Turn, decode_nested
from atlas.trajectories.formats.rows import BadRowError, Row

TOOLS_KEYS = ("tools", "functions")
OUTCOME_KEYS = ("success", "reward")
_steps = TypeAdapter(
    tuple[Step, ...]
).validate_python  # many at once, which takes half the time of one by one


@dataclass(frozen=True, slots=True)
class Conversation:
    """The three parts of a trajectory that its messages make up."""

    prompt: tuple[Message, ...]
    steps: tuple[Step, ...]
    final_observation: tuple[Message, ...]


def split_conversation(turns: Sequence[Turn], prompt_length: int) -> Conversation:
    """Cut a conversation into steps after its first `prompt_length` turns.

    Raises:
        BadRowError: there is no assistant turn after the prompt.
    """
    steps: list[dict[str, Any]] = []
    flags: list[bool | None] = []
    observation: list[Message] = []
    calls: tuple[ToolCall, ...] = ()
    for message, is_trained, _ in turns[prompt_length:]:
        if message.role != "assistant":
            observation.append(message)
            continue
        seen = _in_call_order(observation, calls) if len(calls) > 1 else observation
        steps.append(
            {"observation": seen, "response": message, "action": parse_action(message.content)}
        )
        flags.append(is_trained)
        observation, calls = [], message.tool_calls
    if not steps:
        raise BadRowError("no assistant message besides the prompt, so no step")
    return Conversation(
        prompt=tuple(turn.message for turn in turns[:prompt_length]),
        steps=_steps(_annotated(steps, flags)),
        final_observation=_in_call_order(observation, calls),
    )


def chat_trajectory(
    row: Row, file_name: str, format_name: str, turns: Sequence[Turn], message_keys: Sequence[str]
) -> Trajectory:
    """The trajectory of a row that holds a chat: its turns, and task, tools, outcome and details from its other fields.

    Raises:
        BadRowError: no step, or a field that does not hold what its name says.
    """
    fields = row.value if isinstance(row.value, dict) else {}
    turns = with_system(turns, fields.get("system"))
    conversation = split_conversation(turns, prompt_length(turns))
    digest = row.content_hash
    task = task_of_row(fields, otherwise=f"chat-{digest}")
    tools_key = next((key for key in TOOLS_KEYS if fields.get(key)), None)
    tools = read_tools(fields[tools_key]) if tools_key else ()
    details = details_of_row(
        fields,
        (*message_keys, "system", *OUTCOME_KEYS, *ID_KEYS, *(() if tools is None else TOOLS_KEYS)),
    )
    return Trajectory(
        id=task.id if task.id == f"chat-{digest}" else f"{task.id}-{digest}",
        task=task,
        prompt=conversation.prompt,
        tools=tools or (),
        steps=conversation.steps,
        final_observation=conversation.final_observation,
        outcome=outcome_of_row(fields),
        source=Source(
            name=format_name, path=file_name, row=row.index, line=row.line, details=details
        ),
    )


def prompt_length(turns: Sequence[Turn]) -> int:
    """System messages, or everything up to the acknowledgement that the agent answers the instructions with."""
    first = next(
        (index for index, turn in enumerate(turns) if turn.message.role == "assistant"), len(turns)
    )
    if (
        first + 1 < len(turns)
        and turns[first + 1].message.role == "user"
        and _is_acknowledgement(turns[first].message)
    ):
        return first + 1
    return next(
        (index for index, turn in enumerate(turns) if turn.message.role != "system"), len(turns)
    )


def with_system(turns: Sequence[Turn], text: Any) -> list[Turn]:
    """The turns behind the system prompt that a row gives in a field of its own, unless they open with one."""
    if not isinstance(text, str) or not text or (turns and turns[0].message.role == "system"):
        return list(turns)
    return [Turn(Message(role="system", content=text)), *turns]


def with_default_flags(turns: Sequence[Turn], is_trained: bool) -> list[Turn]:
    """The turns with `is_trained` where they say nothing themselves."""
    return [
        turn._replace(is_trained=is_trained) if turn.is_trained is None else turn for turn in turns
    ]


def read_tools(value: Any) -> tuple[dict[str, Any], ...] | None:
    """Tool schemas as they came, a list or its JSON text; None if it is something else that calls itself tools."""
    tools = decode_nested(value) if value else []
    tools = [tools] if isinstance(tools, dict) else tools
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return None
    return tuple(tools)


def _in_call_order(
    observation: Sequence[Message], calls: Sequence[ToolCall]
) -> tuple[Message, ...]:
    """The messages with the answers to the last step's calls in the order of the calls; all others keep their places."""
    if len(calls) < 2:
        return tuple(observation)
    rank: dict[str | None, int] = {}
    for position, call in enumerate(calls):
        rank.setdefault(call.id, position)
    rank.pop(None, None)
    places = [
        index
        for index, message in enumerate(observation)
        if message.role == "tool" and message.tool_call_id in rank
    ]
    answers = sorted(
        (observation[index] for index in places), key=lambda message: rank[message.tool_call_id]
    )
    ordered = list(observation)
    for index, answer in zip(places, answers, strict=True):
        ordered[index] = answer
    return tuple(ordered)


def _annotated(
    steps: Sequence[dict[str, Any]], flags: Sequence[bool | None]
) -> Sequence[dict[str, Any]]:
    """A flag says something where it leaves a step out: then the trained ones are marked (no flag counts as trained)."""
    if False not in flags:
        return steps
    return [
        {**step, "annotation": Annotation() if flag is False else Annotation(score=1.0)}
        for step, flag in zip(steps, flags, strict=True)
    ]


def _is_acknowledgement(message: Message) -> bool:
    return not message.tool_calls and not message.reasoning and is_acknowledgement(message.content)
