"""Chats whose messages have only a role and a text: `row -> line`, without a record.

This is a fast path of `chats`, for most rows. A property test checks that both ways give the same
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import orjson

from atlas.records import SCHEMA_VERSION, Role
from atlas.trajectories.formats.accounting import unread_fields
from atlas.trajectories.formats.calls import has_content
from atlas.trajectories.formats.chat_forms import (
    CHAT_KEYS,
    PARTS,
    PARTS_OR_SYSTEM,
    SYSTEM_KEYS,
    ChatForm,
    fields_of_row,
    system_of,
)
from atlas.trajectories.formats.conventions import is_acknowledgement
from atlas.trajectories.formats.messages import ROLES
from atlas.trajectories.formats.rows import SourceRow
from atlas.trajectories.react_turns import ACTION, Remark, Seen, action_in, odd_opening, odd_steps
from atlas.trajectories.trajectory_lines import TrajectoryLine, fields_of


def plain_chat(row: SourceRow, messages: Sequence[Any], form: ChatForm) -> TrajectoryLine | None:
    """A fast path of `chat_trajectory` for messages with only a role and a text.

    The values are checked here, so no record is needed. Returns None for other messages.
    """
    said = _plain_messages(row, messages, form)
    if said is None or "assistant" not in said[0]:
        return None
    roles, texts = said
    unread = _unread_beside_messages(row, texts, form)
    if unread is None:
        return None
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
    fields = row.value if isinstance(row.value, dict) else {}
    system = None if PARTS_OR_SYSTEM.isdisjoint(fields) else system_of(fields)
    if system is None or (roles[0] == "system" and system == texts[0]):
        return roles, texts
    if not isinstance(system, str) or roles[0] == "system":
        return None
    return ["system", *roles], [system, *texts]


def _unread_beside_messages(
    row: SourceRow, texts: Sequence[str], form: ChatForm
) -> tuple[str, ...] | None:
    """The unread paths of a plain chat; None if other fields may hold content too."""
    fields = row.value if isinstance(row.value, dict) else {}
    # Of the fields of a chat, only one may hold messages, and one a system prompt.
    if len(fields.keys() & (form.used - CHAT_KEYS)) > 1:
        return None
    if not PARTS_OR_SYSTEM.isdisjoint(fields):
        systems = [key for key in SYSTEM_KEYS if key in fields]
        if len(systems) > 1 or any(has_content(fields.get(key)) for key in PARTS):
            return None

    def carried() -> set[str]:
        return {*texts, *(action_in(text, text.split(ACTION)) or "" for text in texts)}

    return unread_fields(fields, form.used, form.metadata, carried)


def _plain_line(
    row: SourceRow,
    form: ChatForm,
    roles: Sequence[Role],
    texts: Sequence[str],
    start: int,
    ends: Sequence[int],
) -> TrajectoryLine | None:
    """The line of a chat whose steps end at `ends`; None if it cannot be written this way."""
    fields = fields_of_row(row, form)
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

    if not any(texts[: ends[0]]) or responses.count(responses[0]) > 1:
        remarks = _with_odd_opening(remarks, roles, texts, start, ends)
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


def _with_odd_opening(
    remarks: Sequence[Remark],
    roles: Sequence[Role],
    texts: Sequence[str],
    start: int,
    ends: Sequence[int],
) -> list[Remark]:
    """The remarks, with those on the context of the first step, in the order of the steps."""

    def seen_before(index: int) -> list[Seen]:
        begin = ends[index - 1] + 1 if index else start
        return list(zip(roles[begin : ends[index]], texts[begin : ends[index]], strict=True))

    opening = list(zip(roles[: ends[0]], texts[: ends[0]], strict=True))
    more = odd_opening(opening, [texts[end] for end in ends], seen_before)
    return sorted([*remarks, *more], key=itemgetter(0))
