"""The stream of `gemini --output-format stream-json`: `events -> trajectory`.

An answer comes in pieces (`delta`), then its calls, then their results. The stream has no thoughts,
and of a result what the program shows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.records import Message, Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, read_tool_call
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow
from atlas.trajectories.react_turns import Remark

EVENTS = "events"
# Events of other programs have one of them.
OTHER_KEYS = frozenset(("id", "uuid", "sessionId", "sessionID"))
STREAM_METADATA = ("*.severity", "*.stats", "*.delta")
SHOWN = "the stream holds what the program shows of results, which is not all that the model saw"
# Whoever stops the agent decides the rest of these names.
LIMITS = ("FatalTurnLimitedError",)


def is_stream_event(row: Any) -> bool:
    """Whether a row is certainly an event of a stream; never raises."""
    if not isinstance(row, dict) or not {"id", "uuid", "sessionId", "sessionID"}.isdisjoint(row):
        return False
    match row:
        case {"type": "init", "session_id": str(), "model": _}:
            return True
        case {
            "type": "message",
            "role": "user" | "assistant",
            "content": str(),
            "timestamp": str(),
        }:
            return True
        case {"type": "tool_use", "tool_name": str(), "tool_id": _}:
            return True
        case {"type": "tool_result", "tool_id": _, "status": str()}:
            return True
        case {"type": "error", "severity": str(), "message": str(), "timestamp": _}:
            return True
    return False


def is_said(row: Any) -> bool:
    """Whether a row is a message of a stream; programs that record it may add some."""
    match row:
        case {"type": "message", "role": "user" | "assistant", "content": str()}:
            return OTHER_KEYS.isdisjoint(row)
    return False


def may_continue(row: Any) -> bool:
    """Whether a row within a stream belongs to it, also one of an unknown type."""
    return isinstance(row, dict) and isinstance(row.get("type"), str)


def begins(row: Any, session: str | None) -> bool:
    """Whether an event begins another session than the one before it."""
    is_first = isinstance(row, dict) and row.get("type") == "init"
    return is_first and session is not None and row.get("session_id") != session


def session_of(row: Any) -> str | None:
    """The session that an event begins."""
    fields = object_or_empty(row)
    return text_or_none(fields.get("session_id")) if fields.get("type") == "init" else None


def end_of_session(rows: Sequence[SourceRow]) -> int:
    """Where the rows before the first event of another session end; its prompt may precede it."""
    end = len(rows)
    while end > 1 and is_said(rows[end - 1].value) and rows[end - 1].value["role"] == "user":
        end -= 1
    return end


def stream_row(rows: Sequence[SourceRow]) -> SourceRow:
    """The events of a session as one row; the pieces of an answer are joined."""
    events: list[Any] = []
    for row in rows:
        event = row.value
        if _is_piece(event) and events and _is_piece(events[-1]):
            events[-1] = {**events[-1], "content": events[-1]["content"] + event["content"]}
        else:
            events.append(event)
    return rows[0].part({"type": "stream", EVENTS: events})


def is_stream_row(row: Any) -> bool:
    """Whether a row was made by `stream_row`."""
    return isinstance(row, dict) and row.get("type") == "stream" and EVENTS in row


def accounted_stream(row: SourceRow) -> SourceRow:
    """The part of a row that has to be carried over: without notices and the end of the session."""
    given = row.value[EVENTS]
    read = [event for event in given if event.get("type") not in ("error", "result", "init")]
    return row.part({**row.value, EVENTS: read})


def read_stream(row: SourceRow) -> Reading:
    """The trajectory of a stream.

    Raises:
        BadRowError: an event is not what its type says; the error names which.
    """
    events = row.value[EVENTS]
    turns: list[Turn] = []
    num_empty = num_notices = 0
    for index, event in enumerate(events):
        match event.get("type"):
            case "message" if event.get("role") == "user":
                turns.append(Turn(Message(role="user", content=_text(event, "content", index))))
            case "message" if event.get("role") == "assistant":
                _add(turns, Message(role="assistant", content=_text(event, "content", index)))
            case "tool_use":
                call = {"id": event.get("tool_id"), "name": event.get("tool_name")}
                call["arguments"] = event.get("parameters")
                _add(turns, Message(role="assistant", tool_calls=(read_tool_call(call, index),)))
            case "tool_result":
                content = _result(event)
                num_empty += not content
                id_ = text_or_none(event.get("tool_id"))
                turns.append(Turn(Message(role="tool", content=content, tool_call_id=id_)))
            case "error":
                num_notices += 1
            case "init" | "result":
                pass
            case kind:
                raise BadRowError(f"an event of type {kind!r:.60} is not known", index)
    first: Mapping[str, Any] = next((each for each in events if each.get("type") == "init"), {})
    details = {"stream": "stream-json"}
    if model := text_or_none(first.get("model")):
        details["model"] = model
    remarks: list[Remark] = [(-1, text) for text in _remarks(turns, num_empty, num_notices)]
    reading = build_reading(
        turns,
        0,
        task=Task(
            id=text_or_none(first.get("session_id")) or f"stream-{row.content_hash}",
            environment="gemini_cli",
        ),
        digest=row.content_hash,
        outcome=_outcome(events),
        source=row.source("gemini", details),
    )
    return Reading(reading.trajectory, [*reading.remarks, *remarks])


def _is_piece(event: Any) -> bool:
    fields = object_or_empty(event)
    is_said = fields.get("type") == "message" and fields.get("role") == "assistant"
    return is_said and fields.get("delta") is True and isinstance(fields.get("content"), str)


def _add(turns: list[Turn], said: Message) -> None:
    """Add what the model said; until a result follows it is one generation."""
    if not turns or turns[-1].message.role != "assistant":
        turns.append(Turn(said))
        return
    first = turns[-1].message
    joined = {
        "content": first.content + said.content,
        "tool_calls": (*first.tool_calls, *said.tool_calls),
    }
    turns[-1] = Turn(first.model_copy(update=joined))


def _text(event: Mapping[str, Any], key: str, index: int) -> str:
    text = event.get(key)
    if not isinstance(text, str):
        raise BadRowError(f"a message has the {key} {text!r:.60}, expected a text", index)
    return text


def _result(event: Mapping[str, Any]) -> str:
    """The output, and the error where the output does not repeat it."""
    output = text_or_none(event.get("output")) or ""
    error = text_or_none(object_or_empty(event.get("error")).get("message")) or ""
    return output if error in output else f"{output}\n{error}".strip()


def _remarks(turns: Sequence[Turn], num_empty: int, num_notices: int) -> Iterator[str]:
    if any(turn.message.role == "tool" for turn in turns):
        yield SHOWN
    if num_empty:
        yield f"{num_empty} results of which the stream holds no words"
    if num_notices:
        yield f"{num_notices} notices of the program are not read"


def _outcome(events: Sequence[Mapping[str, Any]]) -> Outcome:
    """How the session ended; that the agent stopped by itself is not a success."""
    end = next((each for each in reversed(events) if each.get("type") == "result"), None)
    if end is None:
        return Outcome(status="unknown", reason="the stream ends before the session does")
    error = object_or_empty(end.get("error"))
    reason = f"Gemini CLI reports {end.get('status')!r:.60}"
    if said := text_or_none(error.get("message")):
        reason = f"{reason}: {said}"[:1000]
    if error.get("type") in LIMITS:
        return Outcome(status="truncated", reason=reason)
    return Outcome(
        status="error" if error or end.get("status") == "error" else "unknown", reason=reason
    )
