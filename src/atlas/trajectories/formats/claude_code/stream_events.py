"""Events that `claude -p --output-format stream-json` prints: `event -> line of a log`.

An event names its session, but no parent. Sub-agents name the call that started them. Parts of
answers (`stream_event`) are copies of the answers that follow them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from atlas.records import Outcome
from atlas.trajectories.formats.claude_code.log_lines import SPEAKERS, Line, Thread
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.rows import SourceRow

STREAMED = "stream_event"
# Besides what was said and parts of it; they say how the session goes on.
EVENT_TYPES = (
    *SPEAKERS,
    STREAMED,
    "system",
    "result",
    "rate_limit_event",
    "tool_progress",
    "auth_status",
    "keep_alive",
    "tool_use_summary",
    "prompt_suggestion",
    "control_request",
    "control_response",
    "control_cancel_request",
)
# Of events of type "system": they report to the program that started Claude Code.
SYSTEM_EVENTS = (
    "init",
    "status",
    "compact_boundary",
    "hook_started",
    "hook_progress",
    "hook_response",
    "task_started",
    "task_progress",
    "task_updated",
    "task_notification",
    "files_persisted",
    "api_retry",
    "local_command_output",
    "elicitation_complete",
    "session_state_changed",
    "post_turn_summary",
)
# Whoever stops the agent decides the rest of these names.
LIMITS = ("error_max_turns", "error_max_budget_usd", "error_max_structured_output_retries")


def is_stream_event(row: Any) -> bool:
    """Whether a row is an event of a stream; what a session log holds is not."""
    match row:
        case {"parentUuid": _} | {"sessionId": _}:
            return False
        case {"type": "user" | "assistant", "message": {"content": _}}:
            return isinstance(row.get("session_id"), str)
        case {"type": "system", "subtype": str(), "session_id": str()}:
            return True
        case {"type": "result", "subtype": str(), "session_id": str()}:
            return True
        case {"type": "stream_event", "event": {}, "session_id": str()}:
            return True
        case {"type": str(kind), "session_id": str(), "uuid": _}:
            return kind in EVENT_TYPES
    return False


def is_notice(event: Mapping[str, Any]) -> bool:
    """Whether an event is known to say nothing that the agent saw or wrote."""
    if event.get("type") == "system":
        return isinstance(event.get("subtype"), str) and event["subtype"] in SYSTEM_EVENTS
    return event.get("type") not in SPEAKERS


def outcome_of(result: Mapping[str, Any]) -> Outcome:
    """How a session ended, by its last event; that the agent stopped by itself is not a success."""
    subtype = str(result.get("subtype"))
    text = result.get("result")
    reason = f"Claude Code reports {subtype!r:.60}"
    if subtype in LIMITS:
        return Outcome(status="truncated", reason=reason)
    if subtype != "success" or result.get("is_error") is True:
        said = f": {text}" if isinstance(text, str) and text else ""
        return Outcome(status="error", reason=f"{reason}{said}"[:1000])
    return Outcome(
        status="unknown", reason=f"{reason}: the agent stopped by itself, which is not a success"
    )


class StreamReader:
    """Turns the events of a stream into lines."""

    def __init__(self) -> None:
        self._num_parts: Counter[str] = Counter()
        self._begun: dict[str, str] = {}
        self._session: str | None = None

    def with_session(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """An event with its session; one that names none belongs to that of the event before it."""
        session = event.get("session_id")
        if isinstance(session, str):
            self._session = session
        elif (
            self._session is not None
            and {"sessionId", "parentUuid"}.isdisjoint(event)
            and event.get("type") in EVENT_TYPES
        ):
            return {"uuid": None, **event, "session_id": self._session}
        return event

    def line_of(self, row: SourceRow, latest: Mapping[Thread, str]) -> Line | None:
        """The line of an event, None where the event has no place in a conversation."""
        event = row.value
        kind, session = event["type"], event["session_id"]
        if kind == STREAMED:
            self._num_parts[session] += 1
            message = object_or_empty(object_or_empty(event["event"]).get("message"))
            if isinstance(message.get("id"), str):
                self._begun[message["id"]] = session
            return None
        if kind not in SPEAKERS and event.get("subtype") != "compact_boundary":
            return None
        thread = Thread(session, text_or_none(event.get("parent_tool_use_id")))
        line = Line(
            row=row,
            thread=thread,
            uuid=f"event {row.index}",
            parent=latest.get(thread),
            kind=kind,
        )
        self._begun.pop(line.turn_id or "", None)
        return line

    def remarks(self) -> Iterator[tuple[str, str]]:
        """Session and remark for what was not read."""
        cut = Counter(self._begun.values())
        for session, number in self._num_parts.items():
            yield session, f"{number} parts of answers are copies"
            if cut[session]:
                yield session, f"{cut[session]} answers are not read: the stream ends within them"
