"""Sessions of goose: exports, session files of JSON Lines, and rows of its table of messages.

What only the user saw is left out: messages and parts that goose marks so, notices, requests for
confirmation. A compaction hides what came before it from the agent and adds a summary that the user
does not see: it begins another trajectory, with the summary as its prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.goose.parts import add_part, is_goose_message, is_hidden_part
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.responses.items import ItemReader, remarks_of_steps
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

LIST_KEYS = ("conversation", "messages")
DETAILS = ("name", "description", "working_dir", "provider_name", "model_name", "session_type")
NOTHING = "the session holds no message of the agent"


class GooseFormat:
    """Reads the sessions that goose keeps or exports."""

    metadata: ClassVar[tuple[str, ...]] = (
        *(
            "*.msg",
            "*.data",
            "*.mimeType",
            "*.mime_type",
            "*.notificationType",
            "*.toolCall.status",
        ),
        *("*.blob", "*.toolResult.value.structuredContent", "*.size"),
        *("*.toolCall.error", "*.toolResult.status", "*.toolResult.value.isError", "*.annotations"),
        *("*.thoughtSignature", "*.userVisible", "*.agentVisible", "*.uri", "*._meta", "*.meta"),
        *("name", "recipe", "extension_data", "model_config", "user_recipe_values", "schedule_id"),
        *(
            "message_count",
            "total_tokens",
            "input_tokens",
            "output_tokens",
            "user_set_name",
            "name",
        ),
        *("accumulated_total_tokens", "accumulated_input_tokens", "accumulated_output_tokens"),
        *(
            "*.created_timestamp",
            "*.metadata",
            "*.metadata_json",
            "name",
            "working_dir",
            "*.requestedSchema",
        ),
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return is_goose(row) or _is_message(row)

    def read(self, source: SourceFile) -> Iterator[Item]:
        # By session, which rows of a table name, or which a line of metadata begins.
        groups: dict[str | int, tuple[list[SourceRow], Mapping[str, Any]]] = {}
        begun: Mapping[str, Any] = {}
        num_begun = 0
        found = False
        for row in source.rows():
            value = object_or_empty(row.value) if isinstance(row, SourceRow) else {}
            given = _list_of(row.value) if isinstance(row, SourceRow) else None
            if isinstance(row, Problem):
                found = True
                yield row
            elif given is not None:
                found = True
                yield from self._settle([row], given, value, source)
            elif _is_head(value):
                num_begun, begun = num_begun + 1, value
            elif "role" in value:
                session = text_or_none(value.get("session_id"))
                head = begun if session is None else {}
                groups.setdefault(session or num_begun, ([], head))[0].append(row)
            else:
                found = True
                reason = (
                    "not a message or session, expected 'role' and 'content', or 'conversation'"
                )
                yield Problem(where=row.where, reason=reason)
        for lines, head in groups.values():
            yield from self._settle(lines, [line.value for line in lines], head, source)
        if not groups and not found:
            yield Problem(where=source.name, reason=NOTHING)

    def _settle(
        self,
        rows: Sequence[SourceRow],
        messages: Sequence[Any],
        head: Mapping[str, Any],
        source: SourceFile,
    ) -> Iterator[Item]:
        """The trajectories of a session, or its problem."""
        name = text_or_none(head.get("id")) or text_or_none(head.get("session_id"))
        name = name or text_or_none(object_or_empty(messages[0]).get("session_id"))
        try:
            readings, idle = acted_contexts(_contexts(rows, messages, head, name))
        except (BadRowError, RecursionError, ValidationError) as error:
            place = getattr(error, "message", None)
            row = rows[place] if len(rows) > 1 and isinstance(place, int) else rows[0]
            yield problem_of(error, row.where, name)
            return
        if not readings:
            yield Problem(where=rows[0].where, reason=NOTHING, item=name)
            return
        parts = _rows_read(rows, messages, idle)
        yield from settle(parts, readings, self.metadata, source.ignored)


def is_goose(row: Any) -> bool:
    """Whether a row is a session of goose; never raises."""
    if isinstance(row, dict) and _is_head(row):
        return True
    messages = _list_of(row)
    return messages is not None and any(map(is_goose_message, messages))


def _list_of(row: Any) -> list[Any] | None:
    """The messages of a row that holds a session."""
    given = row
    if isinstance(row, dict):
        given = next((row[key] for key in LIST_KEYS if key in row), None)
    given = decode_nested(given)
    return given if isinstance(given, list) and given else None


def _is_head(value: Mapping[str, Any]) -> bool:
    """Whether a row is the first line of a session file."""
    return isinstance(value.get("working_dir"), str) and not value.keys() & {*LIST_KEYS, "role"}


def _is_message(row: Any) -> bool:
    is_own = isinstance(row, dict) and isinstance(row.get("role"), str) and "type" not in row
    return is_own and (
        is_goose_message(row)
        or "content_json" in row
        or (type(row.get("created")) is int and isinstance(row.get("content"), list))
    )


def _content(message: Mapping[str, Any]) -> list[Any]:
    given = decode_nested(message.get("content", message.get("content_json")))
    if isinstance(given, str):
        return [{"type": "text", "text": given}]
    if not isinstance(given, list):
        raise BadRowError(f"content is {given!r:.60}, expected a list of parts")
    return given


def _visibility(message: Any) -> tuple[bool, bool]:
    """Whether the user and the agent see a message now."""
    given = object_or_empty(message)
    marks = decode_nested(given.get("metadata", given.get("metadata_json")))
    marks = object_or_empty(marks)
    return marks.get("userVisible") is not False, marks.get("agentVisible") is not False


def _contexts(
    rows: Sequence[SourceRow], messages: Sequence[Any], head: Mapping[str, Any], name: str | None
) -> Iterator[tuple[range, Reading | None]]:
    """The messages of each context, and its trajectory; None where the agent did not act in it."""
    starts = _starts_of_contexts(messages)
    for begin, end in zip(starts, [*starts[1:], len(messages)], strict=True):
        reader = ItemReader()
        is_last = end == len(messages)
        num_hidden = 0
        start: int | None = None
        for index in range(begin, end):
            to_user, to_agent = _visibility(messages[index])
            if begin and start is None and to_user:
                reader.end_turn()
                start = len(reader.turns)
            if is_last and not to_agent:
                num_hidden += 1
                continue
            _add_message(reader, messages[index], index)
        reader.end_turn()
        start = len(reader.turns) if begin and start is None else start
        start = max(start or 0, num_leading_system(reader.turns))
        if all(turn.message.role != "assistant" for turn in reader.turns[start:]):
            yield range(begin, end), None
            continue
        remarks = remarks_of_steps(reader.turns, reader.remarks, start)
        if num_hidden:
            remarks.append((-1, f"{num_hidden} messages that the agent did not see are left out"))
        digest = hash_of_texts(row.content_hash for row in rows)
        reading = build_reading(
            reader.turns,
            start,
            task=Task(id=name or "session", environment="goose"),
            digest=f"{digest}-{begin}" if begin else digest,
            outcome=Outcome(status="unknown", reason="a session records no outcome"),
            source=rows[0].source("goose", texts_of(head, DETAILS)),
            remarks=remarks,
        )
        yield range(begin, end), reading


def _starts_of_contexts(messages: Sequence[Any]) -> list[int]:
    """Where the agent's contexts begin.

    A compaction hides all that came before from the agent. What it adds is hidden from the user.
    """
    starts = [0]
    all_hidden = True
    is_after_added = False
    for index, message in enumerate(messages):
        to_user, to_agent = _visibility(message)
        if not to_user and index and all_hidden and not is_after_added:
            starts.append(index)
        all_hidden = (all_hidden or index in starts) and not to_agent
        is_after_added = not to_user
    return starts


def _add_message(reader: ItemReader, message: Any, index: int) -> None:
    if not isinstance(message, dict):
        raise BadRowError(f"{message!r:.60} is not a message, expected an object", index)
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise BadRowError(f"role is {role!r:.60}, expected user, assistant or system", index)
    texts: list[str] = []
    try:
        parts = _content(message)
    except BadRowError as error:
        raise BadRowError(str(error), index) from None
    num_hidden = sum(map(is_hidden_part, parts))
    for part in parts:
        if not is_hidden_part(part):
            add_part(reader, part, role, texts, index)
    if texts or not parts:
        reader.add({"role": role, "content": "".join(texts)}, index)
    if num_hidden:
        text = f"{num_hidden} parts that the agent did not see are left out"
        reader.remarks.append((max(reader.turn_index, 0), text))


def _rows_read(
    rows: Sequence[SourceRow], messages: Sequence[Any], idle: Collection[int]
) -> list[SourceRow]:
    """The rows without what was left out: idle contexts, and what the agent did not see."""
    last = _starts_of_contexts(messages)[-1]
    seen = [
        index not in idle and (index < last or _visibility(each)[1])
        for index, each in enumerate(messages)
    ]
    value = rows[0].value
    if isinstance(value, dict) and "role" in value:
        return [
            row.part(_seen(row.value)) for row, is_seen in zip(rows, seen, strict=True) if is_seen
        ]
    kept = [each for each, is_seen in zip(messages, seen, strict=True) if is_seen]
    if isinstance(value, list):
        return [rows[0].part(_seen(kept))]
    key = next(key for key in LIST_KEYS if key in value)
    return [rows[0].part(_seen({**value, key: kept}))]


def _seen(value: Any) -> Any:
    """A row without the parts that the agent did not see."""
    if isinstance(value, list):
        return [_seen(each) for each in value if not is_hidden_part(each)]
    if isinstance(value, dict):
        return {key: _seen(each) for key, each in value.items()}
    return value
