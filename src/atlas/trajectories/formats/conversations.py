"""Turns -> the prompt, the steps and what was seen last.

Every assistant turn after the prompt is a step. What stands between two of them is the observation
of the later one, with tool results in the order of the calls that they answer. A training flag of
the source becomes an annotation of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import TypeAdapter

from atlas.records import SCHEMA_VERSION, Annotation, Message, Role, Step, ToolCall, Trajectory
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    is_acknowledgement,
    outcome_of_row,
    task_of_row,
)
from atlas.trajectories.formats.messages import ROLES, Turn, decode_nested, read_turns
from atlas.trajectories.formats.rows import BadRowError, SourceRow
from atlas.trajectories.react_turns import ACTION, action_in, odd_steps, parse_action
from atlas.trajectories.trajectory_lines import TrajectoryLine, fields_of

TOOLS_KEYS = ("tools", "functions")
OUTCOME_KEYS = ("success", "reward")
# Many at once take half the time of one by one.
_steps = TypeAdapter(tuple[Step, ...]).validate_python
CHAT_KEYS = frozenset(("system", *TOOLS_KEYS, *OUTCOME_KEYS, *ID_KEYS))


@dataclass(frozen=True, slots=True)
class ChatForm:
    """How the rows of a format spell a chat.

    Attributes:
        name: of the format.
        keys: who spoke and what, in a message.
        used: the fields of the row that have a place in a trajectory.
    """

    name: str
    keys: tuple[str, str]
    used: frozenset[str]


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


def read_chat(
    row: SourceRow, messages: Sequence[Any], form: ChatForm
) -> Trajectory | TrajectoryLine:
    """The trajectory of a row that holds a chat.

    Task, tools, outcome and details come from the other fields of the row.

    Raises:
        BadRowError: something is not a message, or a field does not hold what its name says.
    """
    plain = _plain_chat(row, messages, form)
    return plain or chat_trajectory(row, read_turns(messages, form.keys), form)


def chat_trajectory(row: SourceRow, turns: Sequence[Turn], form: ChatForm) -> Trajectory:
    """The trajectory of a row whose messages were read.

    Raises:
        BadRowError: there is no step, or a field does not hold what its name says.
    """
    turns = with_system(turns, _system_of(row))
    conversation = split_conversation(turns, prompt_length(turns))
    return Trajectory(
        prompt=conversation.prompt,
        steps=conversation.steps,
        final_observation=conversation.final_observation,
        **_fields_of_row(row, form),
    )


def _plain_chat(row: SourceRow, messages: Sequence[Any], form: ChatForm) -> TrajectoryLine | None:
    """What `chat_trajectory` gives, in a third of the time, if each message is a role and a text.

    What it reads is checked here, so no record is made of it. None for other messages.
    """
    who, what = form.keys
    try:
        roles = [ROLES[message[who]] for message in messages]
        texts = [message[what] for message in messages]
        if {*map(len, messages)} != {2} or {*map(type, texts)} != {str}:
            return None
    except (TypeError, KeyError):
        return None
    system = _system_of(row)
    if isinstance(system, str) and system and roles[0] != "system":
        roles, texts = ["system", *roles], [system, *texts]
    if "assistant" not in roles:
        return None
    first = roles.index("assistant")
    if roles[first + 1 : first + 2] == ["user"] and is_acknowledgement(texts[first]):
        start = first + 1
    else:
        start = next(index for index, role in enumerate(roles) if role != "system")
    ends = [index for index in range(start, len(roles)) if roles[index] == "assistant"]
    if not ends:
        return None
    fields = _fields_of_row(row, form)
    if fields["tools"]:
        return None
    responses = [texts[end] for end in ends]
    pieces = [text.split(ACTION) for text in responses]
    made = [
        {
            "role": role,
            "content": text,
            "reasoning": None,
            "tool_calls": (),
            "tool_call_id": None,
            "name": None,
        }
        for role, text in zip(roles, texts, strict=True)
    ]
    steps = [
        {
            "observation": made[begin:end],
            "response": made[end],
            "action": action_in(texts[end], each),
            "reward": None,
            "is_invalid": None,
            "annotation": None,
        }
        for begin, end, each in zip([start, *(end + 1 for end in ends)], ends, pieces, strict=False)
    ]
    task, outcome = fields["task"], fields["outcome"]
    record = {
        "version": SCHEMA_VERSION,
        "id": fields["id"],
        "task": task,
        "prompt": made[:start],
        "tools": (),
        "steps": steps,
        "final_observation": made[ends[-1] + 1 :],
        "outcome": outcome,
        "source": fields["source"],
    }
    try:
        line = orjson.dumps(record, default=fields_of)
    except orjson.JSONEncodeError:
        return None
    characters: dict[Role, int] = {}
    for role, number in zip(roles, map(len, texts), strict=True):
        characters[role] = characters.get(role, 0) + number
    empty_steps = [index for index, text in enumerate(responses) if not text or text.isspace()]
    return TrajectoryLine(
        id=fields["id"],
        line=line,
        task=task.id,
        environment=task.environment,
        group=task.group,
        split="",
        source=form.name,
        row=row.index,
        status=outcome.status,
        num_steps=len(ends),
        remarks=odd_steps(responses, pieces, empty_steps),
        characters=characters,
    )


def _system_of(row: SourceRow) -> Any:
    return row.value.get("system") if isinstance(row.value, dict) else None


def _fields_of_row(row: SourceRow, form: ChatForm) -> dict[str, Any]:
    """The fields of a trajectory that do not come from messages."""
    fields = row.value if isinstance(row.value, dict) else {}
    digest = row.content_hash
    task = task_of_row(fields, otherwise=f"chat-{digest}")
    tools_key = next((key for key in TOOLS_KEYS if fields.get(key)), None)
    tools = read_tools(fields[tools_key]) if tools_key else ()
    details = details_of_row(fields, form.used if tools is not None else form.used - {*TOOLS_KEYS})
    return {
        "id": task.id if task.id == f"chat-{digest}" else f"{task.id}-{digest}",
        "task": task,
        "tools": tools or (),
        "outcome": outcome_of_row(fields),
        "source": row.source(form.name, details),
    }


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
