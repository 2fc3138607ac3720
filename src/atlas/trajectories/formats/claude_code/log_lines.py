"""The lines of a Claude Code log: `row -> line`, with its place in the conversation.

A line that no model saw is a notice, by its type. Lines of unknown types are kept, so that words
in them are reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from atlas.trajectories.formats.agent_logs import objects_of
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.rows import SourceRow

SPEAKERS = ("user", "assistant")
ATTACHMENT = "attachment"
# What the user wrote while a tool ran, in logs that hold no attachment for it.
QUEUED = "queue-operation"
# Bookkeeping, titles and snapshots of files.
NOTICES = (
    "summary",
    "progress",
    "file-history-snapshot",
    "file-history-delta",
    QUEUED,
    "permission-mode",
    "mode",
    "custom-title",
    "ai-title",
    "agent-name",
    "agent-color",
    "agent-setting",
    "tag",
    "last-prompt",
    "pr-link",
    "frame-link",
    "worktree-state",
    "relocated",
    "bridge-session",
    "atis-latch",
    "cost-state",
    "continued-in",
    "attribution-snapshot",
    "speculation-accept",
    "artifact-comment-monitor",
    "artifact-autoreact-ledger",
)
# Of lines of type "system". Old versions wrote notices without a subtype.
SYSTEM_NOTICES = (
    None,
    "compact_boundary",
    "microcompact_boundary",
    "turn_duration",
    "away_summary",
    "stop_hook_summary",
    "api_error",
    "api_metrics",
    "api_refusal",
    "model_refusal_fallback",
    "model_fallback",
    "informational",
    "agents_killed",
    "memory_saved",
    "bridge_status",
    "permission_retry",
    "scheduled_task_fire",
    "session_start",
    "error",
)
# The model of assistant lines that the harness wrote.
SYNTHETIC = "<synthetic>"
_CLEAR = re.compile(
    r"\s*(?:<command-message>[^<]*</command-message>\s*)?<command-name>/(?:clear|reset|new)</command-name>"
)


class Thread(NamedTuple):
    """A session, or a sub-agent in it."""

    session: str
    agent: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the log; `parent` is the line before it in its conversation."""

    row: SourceRow
    thread: Thread
    uuid: str
    parent: str | None
    kind: str

    @property
    def fields(self) -> Mapping[str, Any]:
        return object_or_empty(self.row.value)

    @property
    def message(self) -> Mapping[str, Any]:
        return object_or_empty(self.fields.get("message"))

    @property
    def attachment(self) -> Mapping[str, Any]:
        return object_or_empty(self.fields.get("attachment"))

    @property
    def turn_id(self) -> str | None:
        return text_or_none(self.message.get("id")) if self.kind == "assistant" else None

    @property
    def subtype(self) -> Any:
        return self.fields.get("subtype")

    @property
    def is_boundary(self) -> bool:
        return self.kind == "system" and self.subtype == "compact_boundary"

    @property
    def is_summary(self) -> bool:
        return self.says("isCompactSummary")

    @property
    def is_microcompaction(self) -> bool:
        return self.kind == "system" and self.subtype == "microcompact_boundary"

    @property
    def is_local_command(self) -> bool:
        """A command of the user or its output, which the agent sees as a message of the user."""
        return self.kind == "system" and self.subtype == "local_command"

    @property
    def clears(self) -> bool:
        """Whether it is the command that begins a new conversation."""
        if self.kind == "user":
            content = self.message.get("content")
            if isinstance(content, list) and content:
                content = object_or_empty(content[0]).get("text")
        else:
            content = self.fields.get("content") if self.is_local_command else None
        return isinstance(content, str) and _CLEAR.match(content) is not None

    @property
    def is_hidden(self) -> bool:
        """Whether no model wrote or saw it: an error as an answer, or a text for the transcript."""
        if self.kind == "assistant":
            return self.message.get("model") == SYNTHETIC or self.says("isApiErrorMessage")
        return self.says("isVisibleInTranscriptOnly") and not self.is_summary

    @property
    def is_context(self) -> bool:
        """Whether it stands in the context of the agent although nobody said it."""
        return self.kind in (ATTACHMENT, QUEUED) or self.is_local_command or self.is_microcompaction

    @property
    def is_notice(self) -> bool:
        if self.kind == "system":
            subtype = self.subtype
            return (subtype is None or isinstance(subtype, str)) and subtype in SYSTEM_NOTICES
        return self.kind in NOTICES

    def says(self, flag: str) -> bool:
        return self.fields.get(flag) is True

    def ids(self, kind: str, key: str) -> set[str]:
        """The ids under `key` in the blocks of one kind."""
        blocks = objects_of(self.message, "content")
        given = (block.get(key) for block in blocks if block.get("type") == kind)
        return {id_ for id_ in given if isinstance(id_, str) and id_}

    def texts(self) -> Iterator[str]:
        """What the user said in it: a text, blocks of text, or what was queued."""
        given = self.attachment.get("prompt") if self.kind == ATTACHMENT else None
        if self.kind == "user":
            given = self.message.get("content")
        for block in given if isinstance(given, list) else [given]:
            text = block if isinstance(block, str) else object_or_empty(block).get("text")
            if isinstance(text, str):
                yield text
