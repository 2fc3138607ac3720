"""The rows of a log -> its lines, and what is known beside them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from atlas.records import Problem
from atlas.trajectories.formats.claude_code.attachments import (
    SNAPSHOT,
    is_known,
    is_rendered,
)
from atlas.trajectories.formats.claude_code.log_conversations import LogConversation
from atlas.trajectories.formats.claude_code.log_lines import (
    ATTACHMENT,
    QUEUED,
    SPEAKERS,
    Line,
    Thread,
)
from atlas.trajectories.formats.claude_code.stream_events import (
    StreamReader,
    is_notice,
    is_stream_event,
)
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.metadata import CONTENT_KEYS
from atlas.trajectories.formats.rows import SourceRow
from atlas.trajectories.react_turns import Remark

UNREAD = "queued messages are left out: the log does not say that the agent read them"


@dataclass(slots=True)
class Log:
    """What a file holds.

    Attributes:
        lines: those with a place in a conversation.
        problems: rows that cannot be read.
        others: by session, rows of which nothing is known.
        snapshots: of the system prompt and the tools.
        starts: by session, the first event of a stream.
        results: the events that end a stream.
        shown: progress messages of sub-agents, by session and call.
        remarks: by session.
        is_sidecar: the file describes a sub-agent, whose log stands beside it.
    """

    lines: list[Line] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    others: dict[str, list[SourceRow]] = field(default_factory=dict)
    snapshots: list[Line] = field(default_factory=list)
    starts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    results: list[SourceRow] = field(default_factory=list)
    shown: Counter[tuple[str, str]] = field(default_factory=Counter)
    remarks: dict[str, list[Remark]] = field(default_factory=dict)
    is_sidecar: bool = False

    def remarks_on(self, conversation: LogConversation) -> list[Remark]:
        """Remarks on what the file holds besides a conversation and belongs to it."""
        session = conversation.thread.session
        calls = {id_ for line in conversation.lines for id_ in line.ids("tool_use", "id")}
        number = sum(
            count for (of, id_), count in self.shown.items() if of == session and id_ in calls
        )
        remarks = self.remarks.pop(session, [])
        if number:
            text = (
                f"{number} progress messages of sub-agents are not read: they hold calls without "
                "words, the logs of the sub-agents hold all"
            )
            remarks.append((-1, text))
        return remarks

    def result_of(self, conversation: LogConversation) -> Mapping[str, Any] | None:
        """The event that ends a stream, if it follows the last line of the conversation."""
        thread = conversation.thread
        last = max(line.row.index for line in conversation.lines)
        for row in self.results:
            if thread.agent is None and row.value["session_id"] == thread.session:
                places = (line.row.index for line in self.lines if line.thread == thread)
                if row.index > last and not any(last < place < row.index for place in places):
                    return object_or_empty(row.value)
        return None


def is_sidecar(row: Any) -> bool:
    """Whether a row is what `agent-ID.meta.json` says of a sub-agent: its type, not its words."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("agentType"), str)
        and row.keys().isdisjoint((*CONTENT_KEYS, "type", "role"))
        and not any(isinstance(value, dict | list) for value in row.values())
    )


def read_log(rows: Iterable[SourceRow | Problem]) -> Log:
    """Read the lines of a log, each linked to its parent, or to the line before it."""
    reader = _Reader()
    for row in rows:
        if isinstance(row, Problem):
            reader.log.problems.append(row)
        else:
            reader.add(row)
    reader.finish()
    return reader.log


class _Reader:
    def __init__(self) -> None:
        self.log = Log()
        self._lines: dict[str, Line] = {}
        self._latest: dict[Thread, str] = {}
        self._stream = StreamReader()
        self._queues: dict[str, deque[SourceRow]] = {}
        # What the user wrote while a tool ran, and the place in the log where the agent read it.
        self._absorbed: list[tuple[int, Thread, SourceRow]] = []
        self._num_repeated: Counter[str] = Counter()
        # What left the queue for a line of its own, went back to the user, or still waits.
        self._left: list[SourceRow] = []

    def add(self, row: SourceRow) -> None:
        value = object_or_empty(row.value)
        kind = value.get("type")
        if is_sidecar(value):
            self.log.is_sidecar = True
        elif not isinstance(kind, str):
            reason = "not an event, expected an object with a 'type'"
            self.log.problems.append(Problem(where=row.where, reason=reason))
        elif is_stream_event(event := self._stream.with_session(value)):
            self._add_event(row if event is value else row.part(event))
        elif kind == QUEUED:
            self._queue(row)
        else:
            self._add_line(row, kind)

    def finish(self) -> None:
        """Put the queued messages to their places."""
        self.log.lines = [*self._lines.values()]
        for session, number in self._num_repeated.items():
            text = f"{number} lines that stand twice in the log are read once"
            self.log.remarks.setdefault(session, []).append((-1, text))
        for session, number in self._num_unread().items():
            self.log.remarks.setdefault(session, []).append((-1, f"{number} {UNREAD}"))
        for session, remark in self._stream.remarks():
            self.log.remarks.setdefault(session, []).append((-1, remark))
        prompts = {
            line.attachment.get("prompt")
            for line in self.log.lines
            if isinstance(line.attachment.get("prompt"), str)
        }
        absorbed: dict[Thread, deque[tuple[int, SourceRow]]] = {}
        for place, thread, row in self._absorbed:
            if row.value.get("content") not in prompts:
                absorbed.setdefault(thread, deque()).append((place, row))
        if absorbed:
            self.log.lines = self._with_queued(absorbed)

    def _with_queued(self, absorbed: dict[Thread, deque[tuple[int, SourceRow]]]) -> list[Line]:
        """The lines, with queued messages before the next answer that began after they were read.

        Those after which nothing was answered stand at the end.
        """
        made: list[Line] = []
        begun: set[tuple[Thread, str]] = set()
        for line in self.log.lines:
            waiting = absorbed.get(line.thread)
            if waiting and line.kind == "assistant" and not line.is_hidden:
                turn = (line.thread, line.turn_id or line.uuid)
                while turn not in begun and waiting and waiting[0][0] < line.row.index:
                    row = waiting.popleft()[1]
                    made.append(_queued(row, line.thread, line.parent or line.uuid))
                begun.add(turn)
            made.append(line)
        for thread, waiting in absorbed.items():
            made += [_queued(row, thread, self._latest.get(thread)) for _, row in waiting]
        return made

    def _queue(self, row: SourceRow) -> None:
        """A message enters the queue, or leaves it: to the agent, or back to the user."""
        session = text_or_none(row.value.get("sessionId"))
        if session is None:
            return
        queue = self._queues.setdefault(session, deque())
        operation, content = row.value.get("operation"), row.value.get("content")
        if operation == "enqueue":
            if isinstance(content, str):
                queue.append(row)
            else:
                self.log.others.setdefault(session, []).append(row)
        elif operation == "popAll":
            self._left += queue
            queue.clear()
        elif operation in ("dequeue", "remove") and queue:
            found = next((one for one in queue if one.value.get("content") == content), queue[0])
            queue.remove(found)
            if operation == "remove":
                self._absorbed.append((row.index, Thread(session, None), found))
            else:
                self._left.append(found)

    def _num_unread(self) -> Counter[str]:
        """By session, how many messages left the queue or still wait, but stand in no line."""
        rows = [*self._left, *(row for queue in self._queues.values() for row in queue)]
        if not rows:
            return Counter()
        told = {text.strip() for line in self.log.lines for text in line.texts()}
        # A command of the user stands in the log in another form.
        return Counter(
            str(row.value["sessionId"])
            for row in rows
            if (content := row.value["content"].strip()) not in told
            and content[:1] not in ("", "/")
        )

    def _add_event(self, row: SourceRow) -> None:
        line = self._stream.line_of(row, self._latest)
        if line is not None:
            self._keep(line)
        elif row.value.get("type") == "result":
            self.log.results.append(row)
        elif row.value.get("subtype") == "init":
            self.log.starts.setdefault(str(row.value["session_id"]), row.value)
        elif not is_notice(row.value):
            self.log.others.setdefault(str(row.value["session_id"]), []).append(row)

    def _add_line(self, row: SourceRow, kind: str) -> None:
        value = row.value
        uuid, session = text_or_none(value.get("uuid")), text_or_none(value.get("sessionId"))
        speaks = kind in SPEAKERS
        if (
            uuid is None
            or session is None
            or (speaks and not isinstance(value.get("message"), dict))
        ):
            self._add_other(row, kind, session)
            return
        if uuid in self._lines:
            self._add_again(row, self._lines[uuid], session, speaks)
            return
        is_side = value.get("isSidechain") is True
        agent = (text_or_none(value.get("agentId")) or "agent") if is_side else None
        thread = Thread(session, agent)
        parent = text_or_none(value.get("parentUuid"))
        if parent is not None and (
            parent not in self._lines or self._lines[parent].thread.agent != thread.agent
        ):
            # A side chain starts a conversation, even if it names the line that called it.
            is_start = is_side and parent in self._lines
            parent = None if is_start else self._latest.get(thread)
        self._keep(Line(row, thread, uuid, parent, kind))

    def _keep(self, line: Line) -> None:
        if line.kind == "progress":
            data = object_or_empty(line.fields.get("data"))
            call = line.fields.get("parentToolUseID")
            if data.get("type") == "agent_progress" and isinstance(call, str):
                self.log.shown[line.thread.session, call] += 1
        if line.kind == ATTACHMENT:
            self._look_at_attachment(line)
        elif line.kind not in SPEAKERS and not (line.is_notice or line.is_local_command):
            self.log.others.setdefault(line.thread.session, []).append(line.row)
        if not (line.kind in SPEAKERS or line.kind in (ATTACHMENT, "system")):
            # It only leads from one line to the next.
            line = Line(line.row.part(None), line.thread, line.uuid, line.parent, line.kind)
        self._lines[line.uuid] = line
        self._latest[line.thread] = line.uuid

    def _look_at_attachment(self, line: Line) -> None:
        kind = line.attachment.get("type")
        if kind == SNAPSHOT:
            self.log.snapshots.append(line)
        elif not (isinstance(kind, str) and is_known(kind)) and not is_rendered(line.fields):
            self.log.others.setdefault(line.thread.session, []).append(line.row)

    def _add_other(self, row: SourceRow, kind: str, session: str | None) -> None:
        if kind in SPEAKERS:
            reason = f"a line of type '{kind}' without 'uuid', 'sessionId' or 'message'"
            self.log.problems.append(Problem(where=row.where, reason=reason))
            return
        line = Line(row, Thread(session or "", None), "", None, kind)
        if not line.is_notice:
            key = session or next(iter(self.log.others), self._any_session())
            self.log.others.setdefault(key, []).append(row)

    def _any_session(self) -> str:
        return next((thread.session for thread in self._latest), "")

    def _add_again(self, row: SourceRow, known: Line, session: str, speaks: bool) -> None:
        if not speaks:
            return
        if object_or_empty(row.value.get("message")) == known.message:
            self._num_repeated[session] += 1
            return
        reason = f"its uuid occurs before, at {known.row.where}"
        self.log.problems.append(Problem(where=row.where, reason=reason, item=session))


def _queued(row: SourceRow, thread: Thread, parent: str | None) -> Line:
    """A line for what the user wrote while a tool ran."""
    return Line(row, thread, f"queued {row.index}", parent, QUEUED)
