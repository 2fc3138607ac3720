"""Session logs of Claude Code: JSON Lines, each line an event that names its parent.

A conversation is the path from a root to its last leaf; branches that a rewind abandoned are left
out. A compaction starts a new conversation, with the summary as its prompt. `/clear` and each
sub-agent (a side chain, which names its parent) also start one. Several assistant lines with one
message id are one turn. Lines that no model saw (snapshots, system notices, texts of the harness)
are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from atlas.config import Config
from atlas.records import Message, Outcome, Problem, Task, Trajectory
from atlas.trajectories.formats.agent_logs import (
    build_trajectory,
    hash_of_texts,
    objects_of,
    reason_of,
    texts_of,
)
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, read_message
from atlas.trajectories.formats.rows import BadRowError, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

SPEAKERS = ("user", "assistant")
NOTICES = (
    "summary",
    "file-history-snapshot",
    "queue-operation",
    "permission-mode",
    "custom-title",
    "ai-title",
    "last-prompt",
)
# The model of assistant lines that the harness wrote.
SYNTHETIC = "<synthetic>"
# Parts that only the service can read.
HIDDEN_BLOCKS = ("redacted_thinking",)


class Thread(NamedTuple):
    """A session, or a sub-agent in it."""

    session: str
    agent: str | None


@dataclass(frozen=True, slots=True)
class _Line:
    """One event of the log."""

    row: SourceRow
    thread: Thread
    uuid: str
    parent: str | None

    @property
    def kind(self) -> str:
        return str(self.row.value["type"])

    @property
    def message(self) -> Mapping[str, Any]:
        return object_or_empty(self.row.value.get("message"))

    @property
    def turn_id(self) -> str | None:
        return text_or_none(self.message.get("id"))

    def says(self, flag: str) -> bool:
        return self.row.value.get(flag) is True

    def ids(self, kind: str, key: str) -> set[str]:
        """The ids under `key` in the blocks of one kind."""
        blocks = objects_of(self.message, "content")
        given = (block.get(key) for block in blocks if block.get("type") == kind)
        return {id_ for id_ in given if isinstance(id_, str) and id_}


class ClaudeCodeFormat:
    """Reads the session logs that Claude Code keeps."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        match row:
            case {"type": str(kind)} if kind in NOTICES:
                return bool({"sessionId", "leafUuid", "snapshot"} & row.keys())
            case {"type": str(), "uuid": _, "parentUuid": _, "sessionId": _}:
                return True
        return False

    def read(self, source: SourceFile) -> Iterator[Trajectory | Problem]:
        lines: dict[str, _Line] = {}
        latest: dict[Thread, str] = {}
        for row in source.rows():
            line = _line(row, lines, latest) if isinstance(row, SourceRow) else row
            if isinstance(line, Problem):
                yield line
            elif line is not None:
                lines[line.uuid] = line
                latest[line.thread] = line.uuid
        reason = "the log holds no conversation, expected lines of type 'user' and 'assistant'"
        found = list(_trajectories(lines.values()))
        yield from found or [Problem(where=source.name, reason=reason)]


def _line(
    row: SourceRow, lines: Mapping[str, _Line], latest: Mapping[Thread, str]
) -> _Line | Problem | None:
    """The line, linked to its parent, or to the line before it in its thread.

    The line before is used if the parent is missing because its line is damaged.
    """
    value = object_or_empty(row.value)
    kind = value.get("type")
    if not isinstance(kind, str):
        return Problem(where=row.where, reason="not an event, expected an object with a 'type'")
    uuid, session = text_or_none(value.get("uuid")), text_or_none(value.get("sessionId"))
    speaks = kind in SPEAKERS
    if uuid is None or session is None or (speaks and not isinstance(value.get("message"), dict)):
        reason = f"a line of type '{kind}' without 'uuid', 'sessionId' or 'message'"
        return Problem(where=row.where, reason=reason) if speaks else None
    if uuid in lines:
        reason = f"its uuid occurs before, at {lines[uuid].row.where}"
        return Problem(where=row.where, reason=reason, item=session) if speaks else None
    is_side = value.get("isSidechain") is True
    thread = Thread(session, (text_or_none(value.get("agentId")) or "agent") if is_side else None)
    parent = text_or_none(value.get("parentUuid"))
    if parent is not None and (parent not in lines or lines[parent].thread.agent != thread.agent):
        # A side chain starts a conversation, even if it names the line that called it.
        parent = None if is_side and parent in lines else latest.get(thread)
    return _Line(row, thread, uuid, parent)


def _trajectories(lines: Iterable[_Line]) -> Iterator[Trajectory | Problem]:
    """One for each root of the log: main conversations first, so that side chains can name them."""
    roots: dict[str | None, str] = {}
    trees: dict[str, list[_Line]] = {}
    # A parent stands above its children.
    for line in lines:
        root = roots[line.uuid] = roots.get(line.parent, line.uuid)
        trees.setdefault(root, []).append(line)
    mains: list[tuple[Trajectory, list[_Line]]] = []
    for tree in sorted(trees.values(), key=lambda tree: tree[0].thread.agent is not None):
        path = _path_to_last_leaf(tree)
        # There are only notices.
        if not path:
            continue
        session, agent = path[0].thread
        try:
            trajectory = _trajectory(path, None if agent is None else _caller(path, mains))
        except (BadRowError, RecursionError) as error:
            row = path[getattr(error, "message", None) or 0].row
            yield Problem(where=row.where, reason=reason_of(error), item=session)
            continue
        if agent is None:
            mains.append((trajectory, path))
        yield trajectory


def _path_to_last_leaf(tree: Sequence[_Line]) -> list[_Line]:
    """The lines with messages from the root to the last of them, in the order of the file.

    Parallel calls branch the chain. So lines with the message id of a turn on the path, and results
    of its calls, also belong to the path.
    """
    spoken = [line for line in tree if line.kind in SPEAKERS and not _is_hidden(line)]
    parents = {line.uuid: line.parent for line in tree}
    on_path: set[str] = set()
    at = spoken[-1].uuid if spoken else None
    while at is not None:
        on_path.add(at)
        at = parents[at]
    turns = {line.turn_id for line in spoken if line.uuid in on_path} - {None}
    on_path |= {line.uuid for line in spoken if line.turn_id in turns}
    calls = {id_ for line in spoken if line.uuid in on_path for id_ in line.ids("tool_use", "id")}
    on_path |= {line.uuid for line in spoken if line.ids("tool_result", "tool_use_id") & calls}
    return [line for line in spoken if line.uuid in on_path]


def _is_hidden(line: _Line) -> bool:
    """Whether no model wrote or saw it: an error as an answer, or a text for the transcript."""
    if line.kind == "assistant":
        return line.message.get("model") == SYNTHETIC or line.says("isApiErrorMessage")
    return line.says("isVisibleInTranscriptOnly") and not line.says("isCompactSummary")


def _trajectory(path: Sequence[_Line], parent: str | None) -> Trajectory:
    turns: list[Turn] = []
    place_of_turn: dict[str, int] = {}
    start = 0
    for index, line in enumerate(path):
        content = line.message.get("content")
        if isinstance(content, list):
            content = [
                block
                for block in content
                if object_or_empty(block).get("type") not in HIDDEN_BLOCKS
            ]
        found = list(read_message({"role": line.kind, "content": content}, index))
        if line.kind == "assistant" and line.turn_id is not None:
            place = place_of_turn.setdefault(line.turn_id, len(turns))
            if place < len(turns):
                turns[place] = Turn(_joined(turns[place].message, found[0].message))
                continue
        turns += found
        if line.says("isCompactSummary"):
            start = len(turns)
    session, agent = path[0].thread
    name = session if agent is None else f"{session}-{agent}"
    details = texts_of(path[0].row.value, ("cwd", "gitBranch", "version"))
    answers = (line.message for line in path if line.kind == "assistant")
    if models := [model for answer in answers if (model := text_or_none(answer.get("model")))]:
        details["model"] = models[0]
    if agent is not None:
        details["parent"] = parent or session
    return build_trajectory(
        turns,
        start,
        task=Task(id=name, environment="claude_code"),
        digest=hash_of_texts(line.row.content_hash for line in path),
        outcome=Outcome(status="unknown", reason="a session log records no outcome"),
        source=path[0].row.source("claude_code", details),
    )


def _joined(first: Message, second: Message) -> Message:
    """One turn that was logged block by block; a block that was logged twice counts once."""
    known = {call.id for call in first.tool_calls if call.id is not None}
    calls = (call for call in second.tool_calls if call.id not in known)
    return first.model_copy(
        update={
            "content": first.content + second.content,
            "reasoning": (first.reasoning or "") + (second.reasoning or "") or None,
            "tool_calls": (*first.tool_calls, *calls),
        }
    )


def _caller(path: Sequence[_Line], mains: Sequence[tuple[Trajectory, list[_Line]]]) -> str | None:
    """The conversation that started a side chain.

    Its results name the agent, or one of its calls has the prompt of the side chain, or it is the
    last one before the side chain.
    """
    session, agent = path[0].thread
    prompt = path[0].message.get("content")
    before: str | None = None
    for trajectory, lines in mains:
        if lines[0].thread.session != session:
            continue
        for line in lines:
            result = object_or_empty(line.row.value.get("toolUseResult"))
            inputs = (block.get("input") for block in objects_of(line.message, "content"))
            prompts = [object_or_empty(given).get("prompt") for given in inputs]
            if agent == result.get("agentId") or (prompt and prompt in prompts):
                return trajectory.id
        if lines[0].row.index < path[0].row.index:
            before = trajectory.id
    return before
