"""Session logs of Claude Code: JSON Lines, each line an event that names its parent.

A conversation is the path from a root to its last leaf; what a rewind left behind is not on it. A
compaction begins a new conversation, with the summary as prompt. So do `/clear` and each sub-agent
(a side chain), which names its parent. Several assistant lines with one message id are one turn.
Lines that no model saw (snapshots, system notices, texts of the harness) are skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.config import Config
from atlas.records import Message, Outcome, Problem, Task, Trajectory
from atlas.trajectories.formats.conversations import split_conversation
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn, read_message
from atlas.trajectories.formats.rows import BadRowError, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

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
HIDDEN_BLOCKS = ("redacted_thinking",)


@dataclass(frozen=True, slots=True)
class _Line:
    """One event of the log; `thread` is the session, or the sub-agent in it."""

    row: SourceRow
    thread: tuple[str, str | None]
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

    @property
    def blocks(self) -> list[Mapping[str, Any]]:
        content = self.message.get("content")
        return (
            [block for block in content if isinstance(block, dict)]
            if isinstance(content, list)
            else []
        )


class ClaudeCodeFormat:
    """Reads the session logs that Claude Code keeps."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        if not isinstance(row, dict) or not isinstance(row.get("type"), str):
            return False
        if row["type"] in NOTICES:
            return bool({"sessionId", "leafUuid", "snapshot"} & row.keys())
        return {"uuid", "parentUuid", "sessionId"} <= row.keys()

    def read(self, source: SourceFile) -> Iterator[Trajectory | Problem]:
        lines: dict[str, _Line] = {}
        latest: dict[tuple[str, str | None], str] = {}
        for row in source.rows():
            line = _line(row, lines, latest) if isinstance(row, SourceRow) else row
            if isinstance(line, Problem):
                yield line
            elif line is not None:
                lines[line.uuid] = line
                latest[line.thread] = line.uuid
        made = 0
        for item in _trajectories(list(lines.values())):
            made += 1
            yield item
        if not made:
            yield Problem(
                where=source.name,
                reason="the log holds no conversation, "
                "expected lines of type 'user' and 'assistant'",
            )


def _line(
    row: SourceRow, lines: Mapping[str, _Line], latest: Mapping[tuple[str, str | None], str]
) -> _Line | Problem | None:
    """The line, linked to its parent, or to the line before it in its thread.

    The latter where the parent is missing: its line is damaged.
    """
    value = row.value
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return Problem(where=row.where, reason="not an event, expected an object with a 'type'")
    uuid, session = text_or_none(value.get("uuid")), text_or_none(value.get("sessionId"))
    speaks = value["type"] in ("user", "assistant")
    if uuid is None or session is None or (speaks and not isinstance(value.get("message"), dict)):
        reason = f"a line of type '{value['type']}' without 'uuid', 'sessionId' or 'message'"
        return Problem(where=row.where, reason=reason) if speaks else None
    if uuid in lines:
        reason = f"its uuid occurs before, at {lines[uuid].row.where}"
        return Problem(where=row.where, reason=reason, item=session) if speaks else None
    thread, parent = _thread(value, session), text_or_none(value.get("parentUuid"))
    if parent is not None and (parent not in lines or lines[parent].thread[1] != thread[1]):
        # A side chain may name the line that called it; it begins a conversation nevertheless.
        parent = None if thread[1] is not None and parent in lines else latest.get(thread)
    return _Line(row, thread, uuid, parent)


def _thread(value: Mapping[str, Any], session: str | None) -> tuple[str, str | None]:
    side = value.get("isSidechain") is True
    return session or "", (text_or_none(value.get("agentId")) or "side chain") if side else None


def _trajectories(lines: Sequence[_Line]) -> Iterator[Trajectory | Problem]:
    """One for each root of the log: main conversations first, so that side chains can name them."""
    parents = {line.uuid: line.parent for line in lines}
    roots: dict[str, str] = {}
    # A parent stands above its children, or is not a parent.
    for line in lines:
        roots[line.uuid] = (
            roots.get(line.parent, line.uuid) if line.parent is not None else line.uuid
        )
    trees: dict[str, list[_Line]] = {}
    for line in lines:
        trees.setdefault(roots[line.uuid], []).append(line)
    made: list[tuple[Trajectory, list[_Line]]] = []
    for is_side in (False, True):
        for tree in trees.values():
            if (tree[0].thread[1] is not None) != is_side:
                continue
            path = _path_to_last_leaf(tree, parents)
            # Nothing but notices.
            if not path:
                continue
            try:
                trajectory = _trajectory(path, _caller(path, made) if is_side else None)
            except (BadRowError, RecursionError) as error:
                row = path[(error.message if isinstance(error, BadRowError) else None) or 0].row
                reason = (
                    str(error)
                    if isinstance(error, BadRowError)
                    else "not usable: nested too deeply"
                )
                yield Problem(where=row.where, reason=reason, item=path[0].thread[0])
                continue
            if not is_side:
                made.append((trajectory, path))
            yield trajectory


def _path_to_last_leaf(tree: Sequence[_Line], parents: Mapping[str, str | None]) -> list[_Line]:
    """The lines with messages from the root to the last of them, in the order of the file.

    Parallel calls branch the chain: what has the message id of a turn on the path, or answers a
    call of one, is on the path too.
    """
    spoken = [line for line in tree if line.kind in ("user", "assistant") and not _is_hidden(line)]
    if not spoken:
        return []
    on_path: set[str] = set()
    at: str | None = spoken[-1].uuid
    while at is not None and at not in on_path:
        on_path.add(at)
        at = parents.get(at)
    turns = {line.turn_id for line in spoken if line.uuid in on_path} - {None}
    on_path |= {line.uuid for line in spoken if line.turn_id in turns}
    calls = {
        _text(block, "tool_use", "id")
        for line in spoken
        if line.uuid in on_path
        for block in line.blocks
    } - {None}
    on_path |= {
        line.uuid
        for line in spoken
        if any(_text(block, "tool_result", "tool_use_id") in calls for block in line.blocks)
    }
    return [line for line in spoken if line.uuid in on_path]


def _text(block: Mapping[str, Any], kind: str, key: str) -> str | None:
    """A text of a block of one kind; None for the other kinds."""
    return text_or_none(block.get(key)) if block.get("type") == kind else None


def _is_hidden(line: _Line) -> bool:
    """Whether no model wrote or saw it: an error as an answer, or a text for the transcript."""
    if line.kind == "assistant":
        return (
            line.message.get("model") == SYNTHETIC
            or line.row.value.get("isApiErrorMessage") is True
        )
    return (
        line.row.value.get("isVisibleInTranscriptOnly") is True
        and line.row.value.get("isCompactSummary") is not True
    )


def _trajectory(path: Sequence[_Line], parent: str | None) -> Trajectory:
    turns: list[Turn] = []
    place_of_turn: dict[str, int] = {}
    start = 0
    for index, line in enumerate(path):
        found = list(read_message(_visible(line), index))
        id_ = line.turn_id
        if line.kind == "assistant" and id_ in place_of_turn:
            place = place_of_turn[id_]
            turns[place] = Turn(_joined(turns[place].message, found[0].message))
            continue
        if line.kind == "assistant" and id_ is not None:
            place_of_turn[id_] = len(turns)
        turns += found
        if line.row.value.get("isCompactSummary") is True:
            start = len(turns)
    conversation = split_conversation(turns, start)
    first = path[0].row.value
    session, agent = path[0].thread
    digest = hashlib.sha256("".join(line.row.content_hash for line in path).encode()).hexdigest()[
        :12
    ]
    name = (
        session if agent is None else f"{session}-{text_or_none(first.get('agentId')) or 'agent'}"
    )
    details = {
        key: text
        for key in ("cwd", "gitBranch", "version")
        if (text := text_or_none(first.get(key)))
    }
    if model := next(
        (
            text
            for line in path
            if line.kind == "assistant" and (text := text_or_none(line.message.get("model")))
        ),
        None,
    ):
        details["model"] = model
    if agent is not None:
        details["parent"] = parent or session
    return Trajectory(
        id=f"{name}-{digest}",
        task=Task(id=name, environment="claude_code"),
        prompt=conversation.prompt,
        steps=conversation.steps,
        final_observation=conversation.final_observation,
        outcome=Outcome(status="unknown", reason="a session log records no outcome"),
        source=path[0].row.source("claude_code", details),
    )


def _visible(line: _Line) -> dict[str, Any]:
    """The message without what only the service can read."""
    content = line.message.get("content")
    if isinstance(content, list):
        content = [
            block
            for block in content
            if not (isinstance(block, dict) and block.get("type") in HIDDEN_BLOCKS)
        ]
    return {"role": line.kind, "content": content}


def _joined(first: Message, second: Message) -> Message:
    """One turn that was logged block by block; a block that was logged twice counts once."""
    known = {call.id for call in first.tool_calls if call.id is not None}
    return first.model_copy(
        update={
            "content": first.content + second.content,
            "reasoning": "".join(text for text in (first.reasoning, second.reasoning) if text)
            or None,
            "tool_calls": (
                *first.tool_calls,
                *(call for call in second.tool_calls if call.id not in known),
            ),
        }
    )


def _caller(path: Sequence[_Line], mains: Sequence[tuple[Trajectory, list[_Line]]]) -> str | None:
    """The conversation that started a side chain.

    Its results name the agent, or one of its calls has the prompt of the side chain, or it is the
    last one before the side chain.
    """
    session, agent = path[0].thread
    candidates = [
        (trajectory, lines) for trajectory, lines in mains if lines[0].thread[0] == session
    ]
    prompt = path[0].message.get("content")
    for trajectory, lines in candidates:
        for line in lines:
            if agent == object_or_empty(line.row.value.get("toolUseResult")).get("agentId"):
                return trajectory.id
            if prompt and any(
                object_or_empty(block.get("input")).get("prompt") == prompt for block in line.blocks
            ):
                return trajectory.id
    before = [
        trajectory for trajectory, lines in candidates if lines[0].row.index < path[0].row.index
    ]
    return before[-1].id if before else None
