"""Sessions of opencode: `opencode export`, lists of messages, and `opencode run --format json`.

A message is `info` with `parts`. A step of a message ends with `step-finish`, or where the model
goes on after the result of a tool. A compaction begins another trajectory, with the summary and the
preserved messages as its prompt. What was reverted is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from pydantic import ValidationError

from atlas.config import Config
from atlas.records import Outcome, Problem, Task
from atlas.trajectories.formats.accounting import settle
from atlas.trajectories.formats.agent_logs import (
    acted_contexts,
    build_reading,
    hash_of_texts,
    problem_of,
    texts_of,
)
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, text_or_none
from atlas.trajectories.formats.opencode.parts import (
    METADATA,
    add_message,
    is_left_out,
    kept_messages,
)
from atlas.trajectories.formats.responses.items import ItemReader, remarks_of_steps
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

EVENTS = ("step_start", "step_finish", "text", "tool_use", "reasoning", "error")
NOTHING = "the session holds no message of the agent"
NO_PROMPT = "the stream of 'opencode run' does not hold the prompt"


class OpencodeFormat:
    """Reads what opencode exports or prints."""

    metadata: ClassVar[tuple[str, ...]] = METADATA

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return _is_session(row) or _is_message(row) or _is_event(row)

    def read(self, source: SourceFile) -> Iterator[Item]:
        # By session: several of them may write into one file at once.
        groups: dict[str | None, list[SourceRow]] = {}
        found = False
        for row in source.rows():
            if isinstance(row, SourceRow) and (_is_message(row.value) or _is_event(row.value)):
                groups.setdefault(_session(row.value), []).append(row)
                continue
            found = True
            if isinstance(row, Problem):
                yield row
            elif isinstance(row.value, dict) and isinstance(row.value.get("messages"), list):
                info = object_or_empty(row.value.get("info"))
                yield from self._settle([row], row.value["messages"], info, source)
            elif isinstance(row.value, list):
                yield from self._settle([row], row.value, {}, source)
            else:
                reason = "not a session, expected 'info' with 'messages', or 'info' with 'parts'"
                yield Problem(where=row.where, reason=reason)
        for group in groups.values():
            yield from self._settle_group(group, source)
        if not groups and not found:
            yield Problem(where=source.name, reason=NOTHING)

    def _settle_group(self, rows: list[SourceRow], source: SourceFile) -> Iterator[Item]:
        """Messages or events that stand in rows of their own."""
        info = {"id": _session(rows[0].value)}
        messages = [row.value for row in rows if _is_message(row.value)]
        if not messages:
            parts = [row.value["part"] for row in rows if row.value["type"] != "error"]
            said = {"role": "assistant", "error": rows[-1].value.get("error")}
            messages = [{"info": said, "parts": parts}]
        yield from self._settle(rows, messages, info, source)

    def _settle(
        self,
        rows: Sequence[SourceRow],
        messages: Sequence[Any],
        info: Mapping[str, Any],
        source: SourceFile,
    ) -> Iterator[Item]:
        """The trajectories of a session, or its problem."""
        name = text_or_none(info.get("id"))
        try:
            readings, idle = acted_contexts(_contexts(rows, messages, info, name))
        except (BadRowError, RecursionError, ValidationError) as error:
            yield problem_of(error, rows[0].where, name)
            return
        if not readings:
            yield Problem(where=rows[0].where, reason=NOTHING, item=name)
            return
        yield from settle(_rows_read(rows, idle), readings, self.metadata, source.ignored)


def _is_message(value: Any) -> bool:
    """Whether a value is a message; never raises."""
    if not isinstance(value, dict) or not isinstance(value.get("parts"), list):
        return False
    return object_or_empty(value.get("info")).get("role") in ("user", "assistant")


def _is_session(row: Any) -> bool:
    messages = row if isinstance(row, list) else None
    if isinstance(row, dict) and isinstance(row.get("info"), dict):
        messages = row.get("messages")
    return isinstance(messages, list) and bool(messages) and _is_message(messages[0])


def _is_event(row: Any) -> bool:
    if not isinstance(row, dict) or row.get("type") not in EVENTS:
        return False
    is_error = row["type"] == "error" and "error" in row
    return isinstance(row.get("sessionID"), str) and (is_error or isinstance(row.get("part"), dict))


def _session(value: Mapping[str, Any]) -> str | None:
    """The session that a message or event belongs to."""
    owner = object_or_empty(value.get("info")) or value
    return text_or_none(owner.get("sessionID"))


def _rows_read(rows: Sequence[SourceRow], idle: Collection[int]) -> list[SourceRow]:
    """The rows without what was left out: idle contexts, and what the agent did not see."""
    value = rows[0].value
    if _is_message(value) or _is_event(value):
        kept = (row for index, row in enumerate(rows) if index not in idle)
        return [row.part(_read_of(_as_message(row.value))) for row in kept]
    info = object_or_empty(value.get("info")) if isinstance(value, dict) else {}
    given = value["messages"] if isinstance(value, dict) else value
    messages, _ = kept_messages(given, info.get("revert"))
    read = [_read_of(each) for index, each in enumerate(messages) if index not in idle]
    return [rows[0].part({**value, "messages": read} if isinstance(value, dict) else read)]


def _as_message(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """An event with its part where messages have theirs, which is content."""
    if "part" not in value:
        return value
    beside = {key: each for key, each in value.items() if key not in ("part", "type")}
    return {**beside, "parts": [value["part"]]}


def _read_of(message: Any) -> Any:
    """A message without the texts that the agent did not see."""
    if not _is_message(message):
        return message
    role = message["info"]["role"]
    return {**message, "parts": [each for each in message["parts"] if not is_left_out(each, role)]}


def _contexts(
    rows: Sequence[SourceRow], messages: Sequence[Any], info: Mapping[str, Any], name: str | None
) -> Iterator[tuple[range, Reading | None]]:
    """The messages of each context, and its trajectory; None where the agent did not act in it."""
    given = list_of_objects(messages, "messages")
    given, num_reverted = kept_messages(given, info.get("revert"))
    starts = _starts_of_contexts(given)
    model: dict[str, str] = {}
    for begin, end in zip(starts, [*starts[1:], len(given)], strict=True):
        reader = ItemReader()
        start = 0
        if begin:
            for index in _prompt_of(given, begin):
                add_message(reader, given[index], index)
            reader.end_turn()
            start = len(reader.turns)
        for index in range(begin + 2 if begin else 0, end):
            add_message(reader, given[index], index)
            model = model or _model_of(given[index])
        reader.end_turn()
        turns = reader.turns
        start = max(start, num_leading_system(turns))
        if all(turn.message.role != "assistant" for turn in turns[start:]):
            yield range(begin, end), None
            continue
        remarks = remarks_of_steps(turns, reader.remarks, start)
        if num_reverted and end == len(given):
            remarks.append((-1, f"{num_reverted} messages that were reverted are left out"))
        if _is_event(rows[0].value):
            remarks.append((0, NO_PROMPT))
        digest = hash_of_texts(row.content_hash for row in rows)
        details = texts_of(info, ("directory", "title", "version", "agent")) | model
        if parent := text_or_none(info.get("parentID")):
            details["parent"] = parent
        reading = build_reading(
            turns,
            start,
            task=Task(id=name or "session", environment="opencode"),
            digest=f"{digest}-{begin}" if begin else digest,
            outcome=_outcome(given[begin:end], end == len(given)),
            source=rows[0].source("opencode", details),
            remarks=remarks,
        )
        yield range(begin, end), reading


def _starts_of_contexts(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """The request of each compaction that ended with a summary begins a context."""
    starts = [0]
    for index, (message, answer) in enumerate(pairwise(messages)):
        parts = message.get("parts")
        asks = isinstance(parts, list) and any(
            object_or_empty(part).get("type") == "compaction" for part in parts
        )
        info = object_or_empty(answer.get("info"))
        if asks and info.get("role") == "assistant" and info.get("summary") is True and index:
            starts.append(index)
    return starts


def _prompt_of(messages: Sequence[Mapping[str, Any]], begin: int) -> list[int]:
    """The request of a compaction, its summary, and the messages that it preserved."""
    parts = list_of_objects(messages[begin].get("parts"), "parts", begin)
    tail = next((part["tail_start_id"] for part in parts if part.get("tail_start_id")), None)
    ids = [object_or_empty(message.get("info")).get("id") for message in messages[:begin]]
    kept = range(ids.index(tail), begin) if tail is not None and tail in ids else range(0)
    return [begin, begin + 1, *kept]


def _model_of(message: Mapping[str, Any]) -> dict[str, str]:
    model = text_or_none(object_or_empty(message.get("info")).get("modelID"))
    return {"model": model} if model else {}


def _outcome(messages: Sequence[Mapping[str, Any]], is_last: bool) -> Outcome:
    if not is_last:
        reason = "a compaction replaced this context; the session went on"
        return Outcome(status="unknown", reason=reason)
    error = object_or_empty(object_or_empty(messages[-1].get("info")).get("error"))
    if not error:
        return Outcome(status="unknown", reason="a session records no outcome")
    name = text_or_none(error.get("name")) or "error"
    message = text_or_none(object_or_empty(error.get("data")).get("message"))
    if name == "MessageAbortedError":
        return Outcome(status="unknown", reason=f"the last answer was aborted: {message or name}")
    if name == "MessageOutputLengthError":
        return Outcome(status="truncated", reason="the last answer was cut by its length")
    return Outcome(status="error", reason=f"{name}: {message}" if message else name)
