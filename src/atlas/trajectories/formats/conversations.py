"""Turns -> the prompt, the steps and the final observation.

Every assistant turn after the prompt is a step. The messages between two assistant turns are the
observation of the second one, with tool results in the order of the calls. A training flag of the
source becomes an annotation of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from atlas.records import Annotation, Message, Step, ToolCall
from atlas.trajectories.formats.conventions import is_acknowledgement
from atlas.trajectories.formats.messages import Turn, decode_nested
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.training_flags import NOT_THE_AGENTS, flag_remarks
from atlas.trajectories.react_turns import Remark, parse_action

OUTCOME_KEYS = ("success", "reward")
# Validating many at once takes half the time.
_steps = TypeAdapter(tuple[Step, ...]).validate_python


@dataclass(frozen=True, slots=True)
class Conversation:
    """The three parts of a trajectory that its messages make up, and remarks on its steps."""

    prompt: tuple[Message, ...]
    steps: tuple[Step, ...]
    final_observation: tuple[Message, ...]
    remarks: tuple[Remark, ...] = ()


def split_conversation(turns: Sequence[Turn], prompt_length: int) -> Conversation:
    """Cut a conversation into steps after its first `prompt_length` turns.

    Raises:
        BadRowError: no assistant turn follows the prompt.
    """
    steps: list[dict[str, Any]] = []
    flags: list[float | None] = []
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
    trains_others = any(turn.is_trained and turn.message.role != "assistant" for turn in turns)
    if not steps:
        raise BadRowError("no assistant message besides the prompt, so no step")
    return Conversation(
        prompt=tuple(turn.message for turn in turns[:prompt_length]),
        steps=_steps(_annotated(steps, flags)),
        final_observation=_in_call_order(observation, calls),
        remarks=(*flag_remarks(flags), *(((-1, NOT_THE_AGENTS),) if trains_others else ())),
    )


def prompt_length(turns: Sequence[Turn]) -> int:
    """System messages, or everything up to the agent's acknowledgement of the instructions."""
    num_system = num_leading_system(turns)
    for index, turn in enumerate(turns[num_system:-1], start=num_system):
        if turn.message.role == "assistant":
            acknowledges = turns[index + 1].message.role == "user" and _acknowledges(turn)
            return index + 1 if acknowledges else num_system
    return num_system


def num_leading_system(turns: Sequence[Turn]) -> int:
    """The number of system messages at the start."""
    for index, turn in enumerate(turns):
        if turn.message.role != "system":
            return index
    return len(turns)


def with_system(turns: Sequence[Turn], text: Any) -> Sequence[Turn]:
    """The turns after the system prompt in a field of the row, unless they open with one."""
    if not isinstance(text, str) or not text or (turns and turns[0].message.role == "system"):
        return turns
    return [Turn(Message(role="system", content=text)), *turns]


def with_default_flags(turns: Sequence[Turn], is_trained: bool) -> list[Turn]:
    """The turns, with `is_trained` where they have no flag; only the assistant's can be trained."""
    return [
        turn._replace(is_trained=is_trained)
        if turn.is_trained is None and (not is_trained or turn.message.role == "assistant")
        else turn
        for turn in turns
    ]


def read_tools(value: Any) -> tuple[dict[str, Any], ...] | None:
    """Tool schemas as they came, from a list or its JSON text; None for anything else."""
    tools = decode_nested(value) if value else []
    tools = [tools] if isinstance(tools, dict) else tools
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return None
    return tuple(tools)


def _in_call_order(
    observation: Sequence[Message], calls: Sequence[ToolCall]
) -> tuple[Message, ...]:
    """The messages, with the answers to the last step's calls in the order of the calls.

    All other messages keep their places.
    """
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
    steps: Sequence[dict[str, Any]], flags: Sequence[float | None]
) -> Sequence[dict[str, Any]]:
    """Flags become annotations if one leaves something of a step out, or if each step has one.

    A step without a flag counts as trained.
    """
    if None in flags and all(flag is None or flag >= 1 for flag in flags):
        return steps
    return [
        {**step, "annotation": Annotation(score=1.0 if flag is None else flag)}
        for step, flag in zip(steps, flags, strict=True)
    ]


def _acknowledges(turn: Turn) -> bool:
    """Whether the turn is a canned acknowledgement; one that is trained is a step."""
    message = turn.message
    return (
        not turn.is_trained
        and not message.tool_calls
        and not message.reasoning
        and is_acknowledgement(message.content)
    )
