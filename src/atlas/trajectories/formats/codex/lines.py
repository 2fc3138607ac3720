"""A line of a Codex session, and what its metadata says of forks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.rows import SourceRow

LINE_TYPES = (
    "session_meta",
    "turn_context",
    "response_item",
    "event_msg",
    "compacted",
    "world_state",
    "inter_agent_communication",
    "inter_agent_communication_metadata",
    "token_usage_record",
)
# Texts of the harness in the role of the user; a turn of the user does not begin with them.
_CONTEXT = re.compile(
    r"<(environment_context|user_instructions|turn_aborted|skills?|subagent_notification"
    r"|user_shell_command|permissions instructions|INSTRUCTIONS)\b|# AGENTS\.md instructions",
    re.IGNORECASE,
)
# Version 7 begins with the time.
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class CodexLine:
    """A line: its kind, and the payload that the kind describes."""

    row: SourceRow
    kind: str
    payload: Mapping[str, Any]
    is_exec: bool = False

    @property
    def session_id(self) -> str | None:
        """The id of the session or thread that the line begins."""
        if self.kind == "thread.started":
            return text_or_none(self.payload.get("thread_id"))
        return text_or_none(self.payload.get("id")) if self.kind == "session_meta" else None

    @property
    def event(self) -> str | None:
        """The name of an event."""
        name = self.payload.get("type") if self.kind == "event_msg" else None
        return name if isinstance(name, str) else None


def is_bare_meta(value: Mapping[str, Any]) -> bool:
    """Whether a row is the first line of a session from before September 2025."""
    return (
        isinstance(value.get("id"), str)
        and isinstance(value.get("timestamp"), str)
        and ("instructions" in value or "git" in value)
        and value.keys() <= {"id", "timestamp", "instructions", "git", "cwd", "originator"}
    )


def parent_of(meta: Mapping[str, Any]) -> str | None:
    """The session that started this one, as a fork or as a sub-agent."""
    spawn = object_or_empty(
        object_or_empty(object_or_empty(meta.get("source")).get("subagent")).get("thread_spawn")
    )
    for owner, key in (
        (meta, "forked_from_id"),
        (meta, "parent_thread_id"),
        (spawn, "parent_thread_id"),
    ):
        if text := text_or_none(owner.get(key)):
            return text
    return None


def is_fork_of(meta: Mapping[str, Any], session_id: str | None) -> bool:
    """Whether the metadata of a session says that its history begins with that of another."""
    return session_id is not None and parent_of(meta) == session_id


def is_copy(line: CodexLine, meta: Mapping[str, Any]) -> bool | None:
    """Whether a line was copied from the session that a fork was made from.

    None where the line does not say: neither its number in the history nor the id of its turn.
    """
    start = meta.get("subagent_history_start_ordinal")
    ordinal = object_or_empty(line.row.value).get("ordinal")
    if type(start) is int and type(ordinal) is int:
        return ordinal < start
    turn, session = text_or_none(line.payload.get("turn_id")), text_or_none(meta.get("id"))
    if (
        turn is None
        or session is None
        or not _UUID7.fullmatch(turn)
        or not _UUID7.fullmatch(session)
    ):
        return None
    return turn < session


def is_context(text: str) -> bool:
    """Whether a message in the role of the user is a text of the harness."""
    return _CONTEXT.match(text.lstrip()) is not None
