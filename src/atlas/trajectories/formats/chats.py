"""A row that holds a chat -> its trajectory.

A chat whose messages have only a role and a text is written directly as a line. Other chats are
converted to a record first. A property test checks that both ways give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from atlas.records import SCHEMA_VERSION, Role, Trajectory
from atlas.trajectories.formats.accounting import unread_fields
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    is_acknowledgement,
    outcome_of_row,
    task_of_row,
)
from atlas.trajectories.formats.conversations import (
    OUTCOME_KEYS,
    prompt_length,
    read_tools,
    split_conversation,
    with_system,
)
from atlas.trajectories.formats.messages import ROLES, Turn, read_turns
from atlas.trajectories.formats.rows import SourceRow
from atlas.trajectories.react_turns import ACTION, action_in, odd_steps
from atlas.trajectories.trajectory_lines import TrajectoryLine, fields_of

TOOLS_KEYS = ("tools", "functions")
# The fields of a row that any chat may have.
CHAT_KEYS = frozenset(("system", *TOOLS_KEYS, *OUTCOME_KEYS, *ID_KEYS))


@dataclass(frozen=True, slots=True)
class ChatForm:
    """The keys of chats in a format.

    Attributes:
        name: of the format.
        keys: the keys for role and content of a message.
        used: fields of the row that become a part of the trajectory.
        metadata: paths of the format that are metadata.
    """

    name: str
    keys: tuple[str, str]
    used: frozenset[str]
    metadata: tuple[str, ...] = ()


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
        BadRowError: the chat has no step, or a field does not hold what its name says.
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
    """A fast path of `chat_trajectory` for messages with only a role and a text.

    The values are checked here, so no record is needed. Returns None for other messages.
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
    unread = _unread_beside_messages(row, texts, form)
    if unread is None or "assistant" not in roles:
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
        unread=unread,
    )


def _unread_beside_messages(
    row: SourceRow, texts: Sequence[str], form: ChatForm
) -> tuple[str, ...] | None:
    """The unread paths of a plain chat; None if other fields may hold content too."""
    fields = row.value if isinstance(row.value, dict) else {}
    system = fields.get("system")
    if system is not None and not (isinstance(system, str) and (not system or system in texts)):
        return None
    if len(fields.keys() & (form.used - CHAT_KEYS)) > 1 or any(
        fields.get(key) not in (None, "", [], {}) for key in TOOLS_KEYS
    ):
        return None
    return unread_fields(fields, form.used, form.metadata)


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
