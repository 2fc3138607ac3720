"""Sessions of OpenAI's Codex CLI: rollout files, and the streams of `codex exec --json`.

A rollout is one session: a line of metadata, then items of the Responses API. Since September 2025
each line is `{"timestamp", "type", "payload"}`; before, the items stand bare. Lines of metadata
after the first one belong to the session that a fork was made from, or begin another session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import ValidationError

from atlas.config import Config
from atlas.records import Problem
from atlas.trajectories.formats.accounting import settle
from atlas.trajectories.formats.agent_logs import problem_of
from atlas.trajectories.formats.codex.lines import (
    LINE_TYPES,
    CodexLine,
    is_bare_meta,
    is_fork_of,
)
from atlas.trajectories.formats.codex.read_session import read_session
from atlas.trajectories.formats.codex.read_thread import is_exec_event, read_thread
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.responses.item_types import ITEM_METADATA, is_item, is_item_message
from atlas.trajectories.formats.rows import BadRowError, Item, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

NO_CONVERSATION = "the session holds no step of its own, expected items that a model wrote"


class CodexFormat:
    """Reads the sessions that Codex keeps, and what `codex exec --json` prints."""

    metadata: ClassVar[tuple[str, ...]] = (
        *ITEM_METADATA,
        *("ordinal", "result", "metadata", "payload.trigger_turn"),
        *("payload.window_number", "payload.window_id", "payload.first_window_id"),
        *("payload.previous_window_id", "*.deferLoading", "*.defer_loading"),
        *("server", "tool", "sender_thread_id"),
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        if not isinstance(row, dict):
            return False
        if row.get("type") in LINE_TYPES and isinstance(row.get("payload"), dict):
            return True
        is_bare = is_bare_meta(row) or row.get("record_type") == "state"
        is_bare_item = not row.keys() & {"messages", "stop_reason", "output"} or is_item(row)
        return is_bare or is_exec_event(row) or (is_bare_item and _is_bare_item(row))

    def read(self, source: SourceFile) -> Iterator[Item]:
        session: list[CodexLine] = []
        # The lines of metadata in it, one for each id.
        metas: dict[str | None, CodexLine] = {}
        found = False
        for row in source.rows():
            line = _line(row) if isinstance(row, SourceRow) else row
            if isinstance(line, Problem):
                found = True
                yield line
                continue
            if session and _begins(line, session[0], metas):
                yield from self._settle(session, source)
                found, session, metas = True, [], {}
            session.append(line)
            if line.kind == "session_meta":
                metas.setdefault(line.session_id, line)
        if session:
            yield from self._settle(session, source)
        elif not found:
            yield Problem(where=source.name, reason=NO_CONVERSATION)

    def _settle(self, lines: list[CodexLine], source: SourceFile) -> Iterator[Item]:
        """The trajectories of a session, or its problem."""
        first = lines[0]
        read = read_thread if first.is_exec else read_session
        num_found = 0
        try:
            for parts, reading in read(lines):
                num_found += 1
                yield from settle(parts, [reading], self.metadata, source.ignored)
        except (BadRowError, RecursionError, ValidationError) as error:
            place = getattr(error, "line", None) or first
            yield problem_of(error, place.row.where, first.session_id)
            return
        if not num_found:
            yield Problem(where=first.row.where, reason=NO_CONVERSATION, item=first.session_id)


def _is_bare_item(row: Mapping[str, Any]) -> bool:
    return is_item(row) or is_item_message(row)


def _line(row: SourceRow) -> CodexLine | Problem:
    value = object_or_empty(row.value)
    kind = value.get("type")
    if is_exec_event(value):
        return CodexLine(row, str(kind), value, is_exec=True)
    if isinstance(kind, str) and isinstance(value.get("payload"), dict):
        return CodexLine(row, kind, value["payload"])
    if is_bare_meta(value):
        return CodexLine(row, "session_meta", value)
    if value.get("record_type") == "state":
        return CodexLine(row, "state", value)
    if isinstance(kind, str) and ("role" in value or kind != "message"):
        return CodexLine(row, "response_item", value)
    reason = "not a line of a session, expected an object with 'type' and 'payload', or an item"
    return Problem(where=row.where, reason=reason)


def _begins(line: CodexLine, first: CodexLine, metas: Mapping[str | None, CodexLine]) -> bool:
    """Whether a line begins another session than the one that is being read."""
    if line.is_exec:
        return line.kind == "thread.started" or not first.is_exec
    if line.kind != "session_meta" or first.is_exec:
        return first.is_exec
    is_ancestor = any(is_fork_of(each.payload, line.session_id) for each in metas.values())
    return line.session_id not in metas and not is_ancestor
