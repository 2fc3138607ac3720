"""The lines of a Codex session -> trajectories, one for each context that the agent had.

A compaction replaces the context: what follows it is another trajectory, with the new context as
its prompt. A rollback takes the last turns of the user out of the context. What a fork copied from
another session is the prompt. Events mostly repeat items; they are not read, but those that differ
are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from atlas.records import Message, Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading, hash_of_texts, texts_of
from atlas.trajectories.formats.codex.events import (
    COPY_KEYS,
    EVENTS,
    INSTRUCTIONS,
    LINES_OF_SETTINGS,
    SETTINGS,
    remarks_on_copies,
)
from atlas.trajectories.formats.codex.lines import CodexLine, is_context, is_copy, parent_of
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.responses.items import ItemReader, chat_tools, remarks_of_steps
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

CodexSegment = tuple[list[SourceRow], Reading]
NO_OUTCOME = "a session log records no outcome"
UNTOLD = "the log does not tell which steps were copied from the session it was forked from"
REBUILT = (
    "the log does not hold the context after a compaction: it was built from the messages of the "
    "user and the summary"
)


def read_session(lines: Sequence[CodexLine]) -> Iterator[CodexSegment]:
    """The trajectories of a session, each with the rows that it was read from.

    Raises:
        BadRowError: a line is not what its type says.
    """
    session = _Session(lines)
    held: CodexSegment | None = None
    for line in lines:
        try:
            for segment in session.read(line):
                if held is not None:
                    yield held
                held = segment
        except BadRowError as error:
            if held is not None:
                yield held
            error.line = line  # type: ignore[attr-defined]
            raise
    last = [*session.end()]
    if held is not None:
        yield held if last else _with_remark(held, session.num_rows)
    yield from last


def _with_remark(segment: CodexSegment, num_rows: int) -> CodexSegment:
    """A segment after which there is only a context in which the agent did not act."""
    rows, (trajectory, remarks) = segment
    text = f"{num_rows} lines after the last compaction, with no step, are left out"
    return rows, Reading(trajectory, [*remarks, (-1, text)])


class _Session:
    """The context of the agent so far, and the rows since it began."""

    def __init__(self, lines: Sequence[CodexLine]) -> None:
        first = lines[0]
        self._meta: Mapping[str, Any] = first.payload if first.kind == "session_meta" else {}
        self._first = self._begin = first
        self._reader = ItemReader()
        self._start: int | None = None
        # Rows with the index of the turn that they belong to.
        self._rows: list[tuple[int, SourceRow]] = []
        # Settings of which it is not known yet whether an item repeats them.
        self._left: list[CodexLine] = []
        self._remarks: list[str] = []
        self._summaries: set[int] = set()
        self._copies: dict[str, list[str]] = {}
        self._is_fork = parent_of(self._meta) is not None
        self._is_copying = self._tells_copies = False
        self._settings: dict[str, str] = {}
        self._end = NO_OUTCOME
        self._error: str | None = None
        self._add_instructions(first)

    def read(self, line: CodexLine) -> Iterator[CodexSegment]:
        """Read the next line; a compaction ends a trajectory."""
        self._watch_fork(line)
        match line.kind:
            case "response_item":
                self._reader.add(line.payload)
                self._add_row(line.row)
                self._end, self._error = NO_OUTCOME, None
            case "inter_agent_communication":
                self._reader.add({**line.payload, "type": "agent_message"})
                self._add_row(line.row)
            case "compacted":
                yield from self.end("a compaction replaced this context; the session went on")
                self._compact(line)
            case "event_msg":
                self._add_event(line)
            case _:
                self._add_settings(line)

    def end(self, reason: str | None = None) -> Iterator[CodexSegment]:
        """The trajectory of the context so far; nothing where the agent did not act in it."""
        self._reader.end_turn()
        turns = self._reader.turns
        start = max(self._start or 0, num_leading_system(turns))
        if self._is_copying and self._tells_copies:
            start = len(turns)
        if all(turn.message.role != "assistant" for turn in turns[start:]):
            return
        if self._is_copying and not self._tells_copies:
            self._remarks.append(UNTOLD)
        texts = [text for turn in turns for text in (turn.message.content, turn.message.reasoning)]
        rows = [row for _, row in self._rows] or [self._first.row]
        rows += _unrepeated(self._left, [text for text in texts if text])
        status = "unknown" if self._error is None or reason else "error"
        remarks = remarks_of_steps(turns, self._reader.remarks, start)
        remarks += (
            (-1, text) for text in (*self._remarks, *remarks_on_copies(self._copies, texts))
        )
        reading = build_reading(
            turns,
            start,
            task=Task(id=self._first.session_id or "session", environment="codex"),
            digest=hash_of_texts(row.content_hash for row in rows),
            outcome=Outcome(status=status, reason=reason or self._error or self._end),
            source=self._begin.row.source("codex", self._details()),
            tools=chat_tools([*_tools_of(self._meta), *self._reader.tools]),
            remarks=remarks,
        )
        yield [_accounted(row) for row in rows], reading

    @property
    def num_rows(self) -> int:
        """The number of rows since the context began."""
        return len(self._rows)

    def _add_row(self, row: SourceRow) -> None:
        self._rows.append((self._reader.turn_index, row))

    def _details(self) -> dict[str, Any]:
        details: dict[str, Any] = texts_of(self._meta, ("cwd", "originator", "cli_version"))
        git = texts_of(object_or_empty(self._meta.get("git")), ("branch", "commit_hash"))
        parent = parent_of(self._meta)
        return details | self._settings | git | ({"parent": parent} if parent else {})

    def _add_instructions(self, line: CodexLine) -> None:
        """The system prompt, which stands in the metadata or in the settings of a turn."""
        base = line.payload.get("base_instructions")
        text = base if isinstance(base, str) else object_or_empty(base).get("text")
        if isinstance(text, str) and text and not self._reader.turns:
            self._reader.turns.append(Turn(Message(role="system", content=text)))

    def _add_settings(self, line: CodexLine) -> None:
        if line.kind == "turn_context":
            self._add_instructions(line)
            if model := text_or_none(line.payload.get("model")):
                self._settings.setdefault("model", model)
        if line.kind in LINES_OF_SETTINGS:
            self._left.append(line)
        elif line.kind not in ("state", "world_state"):
            self._add_row(line.row)

    def _add_event(self, line: CodexLine) -> None:
        payload, name = line.payload, line.event
        if name == "thread_rolled_back":
            self._roll_back(payload.get("num_turns"))
        elif name in COPY_KEYS:
            if text := text_or_none(payload.get(COPY_KEYS[name])):
                self._copies.setdefault(name, []).append(text)
        elif name == "turn_aborted":
            reason = text_or_none(payload.get("reason")) or "no reason given"
            self._end = f"the last turn was aborted ({reason})"
        elif name == "error":
            self._error = text_or_none(payload.get("message")) or "an error without a message"
        elif name not in EVENTS:
            self._add_row(line.row)

    def _watch_fork(self, line: CodexLine) -> None:
        """What stands between the metadata of a fork and its first own turn is copied."""
        if not self._is_fork or line is self._first:
            return
        if line.kind == "session_meta" and line.session_id != self._first.session_id:
            self._is_copying = True
        copied = is_copy(line, self._meta)
        if copied is None:
            return
        self._tells_copies = True
        if copied == self._is_copying:
            return
        self._is_copying = copied
        if not copied:
            self._reader.end_turn()
            self._start = len(self._reader.turns)

    def _compact(self, line: CodexLine) -> None:
        """The new context is what the log says, or else what Codex makes of the old one."""
        old, self._reader = self._reader, ItemReader()
        payload = line.payload
        self._begin, self._rows, self._left, self._remarks = line, [(-1, line.row)], [], []
        self._copies = {}
        kept = payload.get("replacement_history")
        system = old.turns[: num_leading_system(old.turns)] if old.turns else []
        if isinstance(kept, list):
            self._reader.turns += system[:1] if self._has_base() else []
            for item in kept:
                self._reader.add(item)
            self._reader.end_turn()
            self._summaries = set()
        else:
            self._reader.turns += (
                turn
                for index, turn in enumerate(old.turns)
                if turn.message.role in ("system", "user") and index not in self._summaries
            )
            summary = payload.get("message")
            if not isinstance(summary, str) or not summary:
                raise BadRowError(
                    "a compaction has neither 'replacement_history' nor a 'message', its summary"
                )
            self._summaries = {len(self._reader.turns)}
            self._reader.add_message(Message(role="user", content=summary))
            self._remarks.append(REBUILT)
        self._start = len(self._reader.turns)

    def _has_base(self) -> bool:
        return bool(self._meta.get("base_instructions"))

    def _roll_back(self, number: Any) -> None:
        """Take the last turns of the user, and all that followed them, out of the context."""
        if type(number) is not int or number < 1:
            return
        self._reader.end_turn()
        turns = self._reader.turns
        begins = [
            index
            for index, turn in enumerate(turns)
            if index >= (self._start or 0)
            and turn.message.role == "user"
            and not is_context(turn.message.content)
        ]
        cut = begins[-number] if number <= len(begins) else (begins or [len(turns)])[0]
        removed = sum(turn.message.role == "assistant" for turn in turns[cut:])
        self._reader.remarks = [each for each in self._reader.remarks if each[0] < cut]
        self._rows = [each for each in self._rows if each[0] < cut]
        del turns[cut:]
        self._copies = {}
        self._remarks.append(f"{removed} steps that the user rolled back are left out")


def _accounted(row: SourceRow) -> SourceRow:
    """The part of a row that has to be carried over: of an item, what is content as in any row."""
    value = object_or_empty(row.value)
    if value.get("type") != "response_item" or not isinstance(value.get("payload"), dict):
        return row
    beside = {key: each for key, each in value.items() if key not in ("payload", "type")}
    return replace(row.part({**beside, **value["payload"]}), where=f"{row.where}, payload")


def _unrepeated(lines: Sequence[CodexLine], texts: Sequence[str]) -> Iterator[SourceRow]:
    """Settings without what is known to be no part of a conversation, or stands in an item."""
    joined = "\0".join(texts)
    for line in lines:
        left = {key: value for key, value in line.payload.items() if key not in SETTINGS}
        for key in INSTRUCTIONS:
            if (text := text_or_none(left.get(key))) and text.strip() in joined:
                del left[key]
        value = line.row.value
        around = value if line.payload is not value else {}
        yield line.row.part({"type": line.kind, **around, "payload": left})


def _tools_of(meta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The tools that a client added; those of Codex itself are not recorded."""
    given = meta.get("dynamic_tools")
    groups = [given] if isinstance(given, dict) else list_of_objects(given, "dynamic_tools")
    for group in groups:
        inner = group.get("tools")
        space = text_or_none(group.get("name")) if inner is not None else None
        for tool in list_of_objects(inner, "tools") if inner is not None else [group]:
            named = {**tool, "name": f"{space}.{tool.get('name')}"} if space else dict(tool)
            if "inputSchema" in named:
                named["parameters"] = named.pop("inputSchema")
            yield {"type": "function", **named}
