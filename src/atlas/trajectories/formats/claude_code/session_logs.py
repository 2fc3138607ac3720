"""Session logs of Claude Code and its `stream-json` output: `lines -> trajectories`.

Each line is an event that names its parent (`log_conversations` says what a conversation is). The
events of a stream have no parents; each follows the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from atlas.config import Config
from atlas.records import Message, Outcome, Problem, Task, Trajectory
from atlas.trajectories.formats.accounting import settle
from atlas.trajectories.formats.agent_logs import (
    build_reading,
    hash_of_texts,
    idle_remark,
    objects_of,
    reason_of,
    texts_of,
)
from atlas.trajectories.formats.claude_code.attachments import (
    ATTACHED_NOTICES,
    is_rendered,
    parted,
    snapshot_of,
)
from atlas.trajectories.formats.claude_code.log_conversations import LogConversation, conversations
from atlas.trajectories.formats.claude_code.log_lines import (
    ATTACHMENT,
    NOTICES,
    SPEAKERS,
    Line,
    Thread,
)
from atlas.trajectories.formats.claude_code.log_metadata import METADATA
from atlas.trajectories.formats.claude_code.log_turns import turns_of, with_cleared
from atlas.trajectories.formats.claude_code.read_log import Log, is_sidecar, read_log
from atlas.trajectories.formats.claude_code.stream_events import is_stream_event, outcome_of
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.react_turns import Remark

NO_OUTCOME = Outcome(status="unknown", reason="a session log records no outcome")
NO_TASK = "the log does not hold what the agent was asked"


class _Told(NamedTuple):
    """A main conversation, and the id of its trajectory."""

    conversation: LogConversation
    id: str


class _Snapshot(NamedTuple):
    """What snapshots say of the prompt, and how often the system prompt was replaced."""

    system: str | None
    tools: tuple[dict[str, Any], ...]
    lines: list[Line]
    num_replaced: int

    @property
    def remarks(self) -> list[Remark]:
        if not self.num_replaced:
            return []
        return [(-1, f"{self.num_replaced} system prompts are not read: others replaced them")]


class ClaudeCodeFormat:
    """Reads the session logs that Claude Code keeps, and the events that `claude -p` prints."""

    metadata = METADATA

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        match row:
            case {"type": str(kind)} if kind in NOTICES:
                return bool({"sessionId", "leafUuid", "snapshot"} & row.keys())
            case {"message": {"parts": _}} | {"systemPayload": _}:
                return False
            case {"type": str(), "uuid": _, "parentUuid": _, "sessionId": _}:
                return True
        return is_stream_event(row) or is_sidecar(row)

    def read(self, source: SourceFile) -> Iterator[Item]:
        log = read_log(source.rows())
        yield from log.problems
        told: list[_Told] = []
        others = dict(log.others)
        has_items = bool(log.problems) or log.is_sidecar
        for conversation in _with_answers([*conversations(log.lines)]):
            session = conversation.thread.session
            try:
                readings = _readings(conversation, log, told)
                rows = [_accounted(line) for line in conversation.lines]
                rows += _accounted_snapshots(_snapshot(conversation, log))
                rows += others.pop(session, [])
                items = [*settle(rows, readings, self.metadata, source.ignored)]
            except (BadRowError, RecursionError) as error:
                row = conversation.lines[getattr(error, "message", None) or 0].row
                yield Problem(where=row.where, reason=reason_of(error), item=session)
            else:
                if conversation.thread.agent is None:
                    told.append(_Told(conversation, readings[-1].trajectory.id))
                yield from items
            has_items = True
        if not has_items:
            reason = "the log holds no conversation, expected lines of type 'user' and 'assistant'"
            yield Problem(where=source.name, reason=reason)


def _with_answers(found: Sequence[LogConversation]) -> list[LogConversation]:
    """The conversations in which the agent acted; others become a remark on the first one of them.

    Such others are what stands after the last `/clear` or compaction.
    """
    acted = {each.thread for each in found if each.has_answer}
    remarks: dict[Thread, list[Remark]] = {}
    kept: list[LogConversation] = []
    for each in found:
        if each.has_answer or each.thread not in acted:
            kept.append(each)
            continue
        number = sum(line.kind in SPEAKERS for line in each.lines)
        remarks.setdefault(each.thread, []).extend([*each.remarks, idle_remark(number)])
    return [replace(each, remarks=[*each.remarks, *remarks.pop(each.thread, ())]) for each in kept]


def _readings(conversation: LogConversation, log: Log, told: Sequence[_Told]) -> list[Reading]:
    """The trajectory of a conversation, and one more for each time that results were cleared."""
    thread, lines = conversation.thread, conversation.lines
    turns, num_prompt, remarks, clearings = turns_of(lines, conversation.num_context)
    snapshot = _snapshot(conversation, log)
    if snapshot.system is not None:
        turns = [Turn(Message(role="system", content=snapshot.system)), *turns]
        num_prompt += 1
        remarks = [(place + 1, text) for place, text in remarks]
        clearings = [(place + 1, call_ids) for place, call_ids in clearings]
    result = log.result_of(conversation)
    details = _details(conversation, log)
    if thread.agent is not None:
        details["parent"] = _caller(conversation, told) or thread.session
    name = thread.session if thread.agent is None else f"{thread.session}-{thread.agent}"
    texts = [line.row.content_hash for line in lines]
    readings: list[Reading] = []
    for number, (shown, start) in enumerate(_parts(turns, num_prompt, clearings)):
        reading = build_reading(
            shown,
            start,
            task=Task(id=name, environment="claude_code"),
            digest=hash_of_texts([*texts, *([f"#{number}"] if number else [])]),
            outcome=NO_OUTCOME if result is None else outcome_of(result),
            source=lines[0].row.source("claude_code", dict(details)),
            tools=snapshot.tools,
            remarks=[
                (_step_at(shown, start, place), text)
                for place, text in remarks
                if start <= place < len(shown)
            ],
        )
        first_seen = reading.trajectory.steps[0].observation
        if not first_seen and start <= num_leading_system(shown):
            reading = reading._replace(remarks=[*reading.remarks, (0, NO_TASK)])
        readings.append(reading)
    beside = [*snapshot.remarks, *conversation.remarks, *log.remarks_on(conversation)]
    if _is_new(result, readings[-1].trajectory):
        beside.append((-1, "the result of the session is not read: no answer has its words"))
    first = readings[0]
    return [Reading(first.trajectory, [*first.remarks, *beside]), *readings[1:]]


def _parts(
    turns: Sequence[Turn], num_prompt: int, clearings: Sequence[tuple[int, set[str]]]
) -> Iterator[tuple[list[Turn], int]]:
    """The turns up to each clearing of results, and the number of them in the prompt.

    The prompt has the results as the agent saw them then.
    """
    starts = [num_prompt, *(place for place, _ in clearings if place > num_prompt)]
    ends = [*starts[1:], len(turns)]
    has_step = False
    for start, end in zip(starts, ends, strict=True):
        is_last = start == starts[-1]
        if _has_answer(turns[start:end]) or (is_last and not has_step):
            given = (call_ids for place, call_ids in clearings if place <= start)
            cleared = set().union(*given)
            yield [*with_cleared(turns[:start], cleared), *turns[start:end]], start
            has_step = True


def _is_new(result: Mapping[str, Any] | None, trajectory: Trajectory) -> bool:
    """Whether the event that ends a stream has words that are not among the answers."""
    if result is None or trajectory.outcome.status == "error":
        return False
    text = result.get("result")
    answers = (step.response.content for step in trajectory.steps)
    return isinstance(text, str) and not any(text.strip() in answer for answer in answers)


def _has_answer(turns: Sequence[Turn]) -> bool:
    return any(turn.message.role == "assistant" for turn in turns)


def _step_at(turns: Sequence[Turn], start: int, place: int) -> int:
    """The step whose response stands at a place, or that follows it."""
    roles = [turn.message.role for turn in turns]
    num_steps = roles[start:].count("assistant")
    return min(roles[start:place].count("assistant"), num_steps - 1)


def _accounted(line: Line) -> SourceRow:
    """The part of a line that has to be carried over.

    Where a line holds the exact words that the agent saw, its other fields are their source.
    """
    if line.is_microcompaction:
        return line.row.part({})
    if line.kind != ATTACHMENT:
        return line.row
    rest = {key: value for key, value in line.fields.items() if key != "attachment"}
    if line.attachment.get("type") in ATTACHED_NOTICES or is_rendered(line.fields):
        return line.row.part(rest)
    shown, others = parted(line.attachment)
    # What the agent saw is accounted for as content.
    key = next((key for key in ("content", "contents", "parts") if key not in rest), "message")
    return line.row.part({**rest, "attachment": others, key: shown})


def _snapshot(conversation: LogConversation, log: Log) -> _Snapshot:
    """The system prompt and the tools that the agent had last, where the log holds them."""
    found = _Snapshot(None, (), [], 0)
    last = max(line.row.index for line in conversation.lines)
    for line in log.snapshots:
        if line.thread == conversation.thread and line.row.index <= last:
            system, tools = snapshot_of(line.attachment)
            is_new = found.system is not None and system not in (None, found.system)
            found = _Snapshot(
                system or found.system,
                found.tools if tools is None else tools,
                [*found.lines, line],
                found.num_replaced + is_new,
            )
    return found


def _accounted_snapshots(snapshot: _Snapshot) -> list[SourceRow]:
    """The snapshots; system prompts and tools that a later one replaced are left out."""
    rows = []
    for line in snapshot.lines:
        system, tools = snapshot_of(line.attachment)
        value: dict[str, Any] = {**line.fields, "attachment": parted(line.attachment)[1]}
        value.pop("rendered", None)
        for key, is_last in (
            ("systemPrompt", system == snapshot.system),
            ("tools", tools == snapshot.tools),
        ):
            if is_last and key in line.attachment:
                value.setdefault("contents", {})[key] = line.attachment[key]
        rows.append(line.row.part(value))
    return rows


def _details(conversation: LogConversation, log: Log) -> dict[str, Any]:
    lines = conversation.lines
    started = log.starts.get(conversation.thread.session, {})
    keys = ("cwd", "gitBranch", "version", "model")
    details: dict[str, Any] = texts_of(started, keys) | texts_of(lines[0].fields, keys)
    answers = (line.message for line in lines if line.kind == "assistant")
    if models := [model for answer in answers if (model := text_or_none(answer.get("model")))]:
        details["model"] = models[0]
    names = started.get("tools")
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        details["tool_names"] = names
    return details


def _caller(conversation: LogConversation, told: Sequence[_Told]) -> str | None:
    """The conversation that started a side chain.

    Its results or calls name the agent, or one of its calls has the prompt of the side chain, or it
    is the last one before the side chain.
    """
    session, agent = conversation.thread
    first = conversation.lines[0]
    prompt = first.message.get("content")
    before: str | None = None
    for one in told:
        if one.conversation.thread.session != session:
            continue
        for line in one.conversation.lines:
            result = object_or_empty(line.fields.get("toolUseResult"))
            blocks = objects_of(line.message, "content")
            prompts = [object_or_empty(block.get("input")).get("prompt") for block in blocks]
            names = (result.get("agentId"), *(block.get("id") for block in blocks))
            if agent in names or (prompt and prompt in prompts):
                return one.id
        if one.conversation.lines[0].row.index < first.row.index:
            before = one.id
    return before
