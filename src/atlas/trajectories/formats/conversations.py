"""Turns -> the prompt, the steps and what was seen last.

Every assistant turn after the prompt is a step. What stands between two of them is the observation
of the later one, with tool results in the order of the calls that they answer. A training flag of
the source becomes an annotation of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import TypeAdapter

from atlas.records import Annotation, Message, Role, Step, ToolCall, Trajectory
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    is_acknowledgement,
    outcome_of_row,
    parse_action,
    task_of_row,
)
from atlas.trajectories.formats.messages import Turn, decode_nested
from atlas.trajectories.formats.rows import BadRowError, SourceRow

RECORD_ROLES = frozenset(get_args(Role))
TOOLS_KEYS = ("tools", "functions")
OUTCOME_KEYS = ("success", "reward")
# Many at once take half the time of one by one.
_steps = TypeAdapter(tuple[Step, ...]).validate_python


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


def chat_parts(row: SourceRow, turns: Sequence[Turn]) -> dict[str, Any]:
    """Prompt, steps and final observation of a row that holds a chat.

    Raises:
        BadRowError: there is no step.
    """
    system = row.value.get("system") if isinstance(row.value, dict) else None
    turns = with_system(turns, system)
    conversation = split_conversation(turns, prompt_length(turns))
    return {
        "prompt": conversation.prompt,
        "steps": conversation.steps,
        "final_observation": conversation.final_observation,
    }


def plain_parts(messages: Sequence[Any]) -> dict[str, Any] | None:
    """What `chat_parts` gives, faster, if each message is a role, a text and nothing else.

    The parts are as they came: the record that takes them checks them. None for other messages.
    """
    try:
        roles = [message["role"] for message in messages]
        texts = [message["content"] for message in messages]
        is_plain = {*map(len, messages)} == {2} and {*map(type, texts)} == {str}
        if not is_plain or not {*roles} <= RECORD_ROLES:
            return None
    except (TypeError, KeyError):
        return None
    if "assistant" not in roles:
        return None
    first = roles.index("assistant")
    acknowledges = roles[first + 1 : first + 2] == ["user"] and is_acknowledgement(texts[first])
    start = first + 1 if acknowledges else 0
    while not acknowledges and roles[start] == "system":
        start += 1
    steps: list[dict[str, Any]] = []
    observation: list[Any] = []
    for index in range(start, len(roles)):
        if roles[index] == "assistant":
            action = parse_action(texts[index])
            steps.append(
                {"observation": observation, "response": messages[index], "action": action}
            )
            observation = []
        else:
            observation.append(messages[index])
    if not steps:
        return None
    return {"prompt": messages[:start], "steps": steps, "final_observation": observation}


def chat_trajectory(
    row: SourceRow, format_name: str, parts: dict[str, Any], message_keys: Sequence[str]
) -> Trajectory:
    """The trajectory of a row that holds a chat.

    Task, tools, outcome and details come from the other fields of the row.

    Raises:
        BadRowError: a field does not hold what its name says.
    """
    fields = row.value if isinstance(row.value, dict) else {}
    digest = row.content_hash
    task = task_of_row(fields, otherwise=f"chat-{digest}")
    tools_key = next((key for key in TOOLS_KEYS if fields.get(key)), None)
    tools = read_tools(fields[tools_key]) if tools_key else ()
    used = (*message_keys, "system", *OUTCOME_KEYS, *ID_KEYS)
    if tools is not None:
        used += TOOLS_KEYS
    return Trajectory(
        id=task.id if task.id == f"chat-{digest}" else f"{task.id}-{digest}",
        task=task,
        tools=tools or (),
        outcome=outcome_of_row(fields),
        source=row.source(format_name, details_of_row(fields, used)),
        **parts,
    )


def prompt_length(turns: Sequence[Turn]) -> int:
    """System messages, or everything up to the agent's acknowledgement of the instructions."""
    num_system = num_leading_system(turns)
    for index, turn in enumerate(turns[num_system:-1], start=num_system):
        if turn.message.role == "assistant":
            acknowledges = turns[index + 1].message.role == "user" and _acknowledges(turn.message)
            return index + 1 if acknowledges else num_system
    return num_system


def num_leading_system(turns: Sequence[Turn]) -> int:
    """How many system messages the turns open with."""
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
    """The turns, with `is_trained` where they have no flag."""
    return [
        turn._replace(is_trained=is_trained) if turn.is_trained is None else turn for turn in turns
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
    steps: Sequence[dict[str, Any]], flags: Sequence[bool | None]
) -> Sequence[dict[str, Any]]:
    """Flags count where one leaves a step out: then the trained steps are marked.

    A step without a flag counts as trained.
    """
    if False not in flags:
        return steps
    return [
        {**step, "annotation": Annotation() if flag is False else Annotation(score=1.0)}
        for step, flag in zip(steps, flags, strict=True)
    ]


def _acknowledges(message: Message) -> bool:
    return not message.tool_calls and not message.reasoning and is_acknowledgement(message.content)
