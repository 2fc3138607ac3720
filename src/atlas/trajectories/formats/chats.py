"""A row that holds a chat -> its trajectory.

A chat whose messages have only a role and a text is written directly as a line. Other chats are
converted to a record first. A property test checks that both ways give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import orjson

from atlas.records import SCHEMA_VERSION, Role, Trajectory
from atlas.trajectories.formats.accounting import unread_fields
from atlas.trajectories.formats.answers import (
    ANSWER_KEYS,
    REJECTED,
    REJECTED_KEYS,
    read_answer,
    with_answer,
)
from atlas.trajectories.formats.calls import has_content
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
    with_default_flags,
    with_system,
)
from atlas.trajectories.formats.messages import MESSAGE_METADATA, ROLES, Turn, read_turns
from atlas.trajectories.formats.rows import Reading, SourceRow
from atlas.trajectories.react_turns import ACTION, action_in, odd_opening, odd_steps
from atlas.trajectories.trajectory_lines import TrajectoryLine, fields_of

TOOLS_KEYS = (
    "tools",
    "functions",
    "available_tools",
    "tool_defs",
    "tool_schemas",
    "tool_definitions",
    "function_definitions",
    "tools_json",
    "toolConfig",
)
SYSTEM_KEYS = (
    "system",
    "system_prompt",
    "system_message",
    "systemPrompt",
    "system_instruction",
    "systemInstruction",
)
# The fields of a row that any chat may have.
CHAT_KEYS = frozenset((*SYSTEM_KEYS, *TOOLS_KEYS, *OUTCOME_KEYS, *ID_KEYS))
CHAT_METADATA = (*MESSAGE_METADATA, *REJECTED_KEYS, "*.metadata.userVisible", "*.agentVisible")
# What stands beside the messages and is no plain field.
_BESIDE = frozenset((*ANSWER_KEYS, *REJECTED_KEYS))


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
) -> Trajectory | TrajectoryLine | Reading:
    """The trajectory of a row that holds a chat, and perhaps the answer beside it.

    Task, tools, outcome and details come from the other fields of the row.

    Raises:
        BadRowError: something is not a message, or a field does not hold what its name says.
    """
    plain = _plain_chat(row, messages, form)
    return plain or chat_trajectory(row, read_turns(messages, form.keys), form)


def chat_trajectory(row: SourceRow, turns: Sequence[Turn], form: ChatForm) -> Trajectory | Reading:
    """The trajectory of a row whose messages were read.

    Raises:
        BadRowError: the chat has no step, or a field does not hold what its name says.
    """
    fields = row.value if isinstance(row.value, dict) else {}
    answer, answer_key = read_answer(fields, turns, form.keys)
    if answer and any(turn.is_trained is False for turn in turns):
        answer = with_default_flags(answer, True)
    turns = with_answer(turns, answer) if answer else turns
    turns = with_system(turns, _system_of(fields))
    remarks = [(-1, REJECTED) for key in REJECTED_KEYS if has_content(fields.get(key))]
    conversation = split_conversation(turns, prompt_length(turns))
    rest = _fields_of_row(row, form, (answer_key or REJECTED_KEYS[0], *REJECTED_KEYS))
    source = rest["source"]
    rest["source"] = source.model_copy(
        update={"details": conversation.add_cut_steps(source.details)}
    )
    trajectory = Trajectory(
        prompt=conversation.prompt,
        steps=conversation.steps,
        final_observation=conversation.final_observation,
        **rest,
    )
    remarks += conversation.remarks
    return Reading(trajectory, remarks) if remarks else trajectory


def _plain_chat(row: SourceRow, messages: Sequence[Any], form: ChatForm) -> TrajectoryLine | None:
    """A fast path of `chat_trajectory` for messages with only a role and a text.

    The values are checked here, so no record is needed. Returns None for other messages.
    """
    said = _plain_messages(row, messages, form)
    unread = _unread_beside_messages(row, form)
    if said is None or unread is None or "assistant" not in said[0]:
        return None
    roles, texts = said
    first = roles.index("assistant")
    if roles[first + 1 : first + 2] == ["user"] and is_acknowledgement(texts[first]):
        start = first + 1
    else:
        start = next(index for index, role in enumerate(roles) if role != "system")
    ends = [index for index in range(start, len(roles)) if roles[index] == "assistant"]
    if not ends:
        return None
    line = _plain_line(row, form, roles, texts, start, ends)
    return line and line._replace(unread=unread)


def _plain_messages(
    row: SourceRow, messages: Sequence[Any], form: ChatForm
) -> tuple[list[Role], list[str]] | None:
    """Roles and texts, the system prompt of the row included; None if that is not all."""
    who, what = form.keys
    try:
        roles = [ROLES[message[who]] for message in messages]
        texts = [message[what] for message in messages]
        if {*map(len, messages)} != {2} or {*map(type, texts)} != {str}:
            return None
    except (TypeError, KeyError):
        return None
    system = _system_of(row.value) if isinstance(row.value, dict) else None
    if system is None or (roles[0] == "system" and system == texts[0]):
        return roles, texts
    if not isinstance(system, str) or roles[0] == "system":
        return None
    return ["system", *roles], [system, *texts]


def _unread_beside_messages(row: SourceRow, form: ChatForm) -> tuple[str, ...] | None:
    """The unread paths of a plain chat; None if other fields may hold content too."""
    fields = row.value if isinstance(row.value, dict) else {}
    # Of the fields of a chat, only one may hold messages, and one a system prompt.
    if len(fields.keys() & (form.used - CHAT_KEYS)) > 1 or not _BESIDE.isdisjoint(fields):
        return None
    if sum(map(fields.__contains__, SYSTEM_KEYS)) > 1:
        return None
    if any(has_content(fields.get(key)) for key in TOOLS_KEYS):
        return None
    return unread_fields(fields, form.used, form.metadata)


def _plain_line(
    row: SourceRow,
    form: ChatForm,
    roles: Sequence[Role],
    texts: Sequence[str],
    start: int,
    ends: Sequence[int],
) -> TrajectoryLine | None:
    """The line of a chat whose steps end at `ends`; None if it cannot be written this way."""
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
    remarks = odd_steps(responses, pieces, empty_steps)

    def seen_before(index: int) -> list[tuple[str, str]]:
        begin = ends[index - 1] + 1 if index else start
        return list(zip(roles[begin : ends[index]], texts[begin : ends[index]], strict=True))

    prompt = list(zip(roles[:start], texts[:start], strict=True))
    if more := odd_opening([*prompt, *seen_before(0)], responses, seen_before):
        remarks = sorted([*remarks, *more], key=itemgetter(0))
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
        remarks=remarks,
        characters=characters,
    )


def _system_of(fields: Mapping[str, Any]) -> Any:
    """The system prompt in a field of the row."""
    return next((fields[key] for key in SYSTEM_KEYS if has_content(fields.get(key))), None)


def _fields_of_row(row: SourceRow, form: ChatForm, more_used: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a trajectory that do not come from messages."""
    fields = row.value if isinstance(row.value, dict) else {}
    digest = row.content_hash
    task = task_of_row(fields, otherwise=f"chat-{digest}")
    tools_key = next((key for key in TOOLS_KEYS if has_content(fields.get(key))), None)
    tools = read_tools(fields[tools_key]) if tools_key else ()
    used = form.used if tools is not None else form.used - {*TOOLS_KEYS}
    details = details_of_row(fields, used.union(more_used))
    return {
        "id": task.id if task.id == f"chat-{digest}" else f"{task.id}-{digest}",
        "task": task,
        "tools": tools or (),
        "outcome": outcome_of_row(fields),
        "source": row.source(form.name, details),
    }
