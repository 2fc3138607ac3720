"""Session logs of Qwen Code: JSON Lines, each a record with contents of Gemini's API.

A record names its parent. The conversation is the path to the last record that was said; what a
rewind left is counted. Several records with one uuid are one. A compression of the chat begins a
conversation, whose prompt is the history that it left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from atlas.config import Config
from atlas.records import Outcome, Problem, Role, Task
from atlas.trajectories.formats.accounting import settle
from atlas.trajectories.formats.agent_logs import (
    build_reading,
    hash_of_texts,
    idle_remark,
    problem_of,
    texts_of,
)
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.gemini.contents import (
    CONTENTS_METADATA,
    joined,
    messages_of_content,
    turns_of_contents,
)
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.react_turns import Remark

SPEAKERS = ("user", "assistant", "tool_result")
COMPRESSION = "chat_compression"
NO_HISTORY = "the chat was compressed; the log does not hold what was left"
# Records of type "system" for the user and the program.
NOTICES = (
    "session_notes",
    "slash_command",
    "ui_telemetry",
    "at_command",
    "attribution_snapshot",
    "notification",
    "background_task_completed",
    "cron",
    "custom_title",
    "parent_session",
    "session_source",
    "session_execution_engine",
    "omni_recall",
    "session_model",
    "session_approval_mode",
    "rewind",
    "agent_bootstrap",
    "agent_launch_prompt",
    "agent_retry",
    "agent_session_ready",
    "file_history_snapshot",
    "user_text_elements",
    "session_artifact_event",
    "session_artifact_snapshot",
    "session_sources_snapshot",
    "branch_checkpoint",
    "goal_state",
    "goal_turn_end",
    "turn_result",
)


class _Thread(NamedTuple):
    """A session, or a sub-agent in it."""

    session: str
    agent: str | None


@dataclass(frozen=True, slots=True)
class _Record:
    row: SourceRow
    thread: _Thread
    uuid: str
    parent: str | None

    @property
    def kind(self) -> str:
        return str(self.row.value["type"])

    @property
    def speaks(self) -> bool:
        return self.kind in SPEAKERS

    @property
    def is_compression(self) -> bool:
        return self.kind == "system" and self.row.value.get("subtype") == COMPRESSION

    @property
    def is_notice(self) -> bool:
        subtype = self.row.value.get("subtype")
        return self.kind == "system" and isinstance(subtype, str) and subtype in NOTICES

    @property
    def compressed(self) -> list[Any] | None:
        """The history that a compression of the chat left."""
        if not self.is_compression:
            return None
        history = object_or_empty(self.row.value.get("systemPayload")).get("compressedHistory")
        return history if isinstance(history, list) else None


class QwenCodeFormat:
    """Reads the session logs that Qwen Code keeps."""

    # What a system record says goes to the user; the history of a compression is read.
    metadata = (
        *CONTENTS_METADATA,
        "systemPayload",
        "toolCallResult",
        "cwd",
        "gitBranch",
        "subtype",
        "provenance",
        "goalContext",
        "backgroundTurn",
        "deliveredTurn",
        "daemonPromptId",
        "promptId",
        "contextWindowSize",
        "agentId",
        "agentName",
        "agentColor",
        "agentRunId",
        "agentRound",
        "externalInputKind",
        "isSidechain",
        "forkedFrom",
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        match row:
            case {"type": "system", "uuid": str(), "sessionId": str(), "systemPayload": _}:
                return True
            case {"type": str(kind), "uuid": str(), "sessionId": str(), "message": {"parts": _}}:
                return kind in (*SPEAKERS, "system")
        return False

    def read(self, source: SourceFile) -> Iterator[Item]:
        records: dict[_Thread, list[_Record]] = {}
        has_items = False
        for row in source.rows():
            found = _record(row) if isinstance(row, SourceRow) else row
            if isinstance(found, Problem):
                has_items = True
                yield found
            elif found is not None:
                records.setdefault(found.thread, []).append(found)
        for thread, given in sorted(records.items(), key=lambda item: item[0].agent is not None):
            path, num_left = _path_to_last_leaf(given)
            parts, num_idle = _acted(_parts(path))
            known = {record.uuid for record in path}
            # Those that no record follows, of which nothing is known.
            beside = [
                record
                for record in given
                if not (record.speaks or record.is_notice or record.uuid in known)
                and record.compressed is None
            ]
            for number, part in enumerate(parts):
                has_items = True
                try:
                    reading = _reading(part, thread, 0 if number else num_left)
                    if number == len(parts) - 1 and num_idle:
                        remarks = [*reading.remarks, idle_remark(num_idle)]
                        reading = Reading(reading.trajectory, remarks)
                    rows = [_accounted(record) for record in part]
                    rows += [] if number else [_accounted(record) for record in beside]
                    yield from settle(rows, [reading], self.metadata, source.ignored)
                except (BadRowError, RecursionError) as error:
                    place = getattr(error, "message", None) or 0
                    row = part[min(place, len(part) - 1)].row
                    if isinstance(error, BadRowError):
                        error.message = None
                    yield problem_of(error, row.where, thread.session)
        if not has_items:
            reason = "the log holds no conversation, expected records of type 'user' or 'assistant'"
            yield Problem(where=source.name, reason=reason)


def _record(row: SourceRow) -> _Record | Problem | None:
    value = object_or_empty(row.value)
    kind, uuid, session = (text_or_none(value.get(key)) for key in ("type", "uuid", "sessionId"))
    if kind is None or uuid is None or session is None:
        reason = "not a record, expected an object with 'type', 'uuid' and 'sessionId'"
        return Problem(where=row.where, reason=reason)
    if kind not in (*SPEAKERS, "system"):
        reason = f"type is {kind!r:.60}, expected one of {', '.join((*SPEAKERS, 'system'))}"
        return Problem(where=row.where, reason=reason, item=session)
    if kind in SPEAKERS and not isinstance(value.get("message"), dict):
        reason = f"a record of type '{kind}' without 'message'"
        return Problem(where=row.where, reason=reason, item=session)
    agent = text_or_none(value.get("agentId"))
    if value.get("isSidechain") is True:
        agent = agent or "agent"
    return _Record(row, _Thread(session, agent), uuid, text_or_none(value.get("parentUuid")))


def _path_to_last_leaf(records: Sequence[_Record]) -> tuple[list[_Record], int]:
    """The records of the path to the last one that was said, and how many others were said."""
    parents: dict[str, str | None] = {}
    before: str | None = None
    for record in records:
        # A record whose parent is lost follows the one before it.
        is_lost = record.parent is not None and record.parent not in parents
        parents.setdefault(record.uuid, before if is_lost else record.parent)
        before = record.uuid
    spoken = [record for record in records if record.speaks]
    on_path: set[str] = set()
    at = spoken[-1].uuid if spoken else None
    while at is not None and at not in on_path:
        on_path.add(at)
        at = parents.get(at)
    path = [record for record in records if record.uuid in on_path and not record.is_notice]
    return path, sum(record.uuid not in on_path for record in spoken)


def _parts(path: Sequence[_Record]) -> list[list[_Record]]:
    """The path, cut where the chat was compressed."""
    parts: list[list[_Record]] = [[]]
    for record in path:
        if record.compressed is not None and any(each.speaks for each in parts[-1]):
            parts.append([])
        parts[-1].append(record)
    return [part for part in parts if any(record.speaks for record in part)]


def _acted(parts: list[list[_Record]]) -> tuple[list[list[_Record]], int]:
    """The parts in which the agent acted, and the number of messages in the others."""
    acted = [part for part in parts if any(record.kind == "assistant" for record in part)]
    num_idle = sum(record.speaks for part in parts if part not in acted for record in part)
    return (acted, num_idle) if acted else (parts, 0)


def _reading(part: Sequence[_Record], thread: _Thread, num_left: int) -> Reading:
    turns: list[Turn] = []
    num_prompt = 0
    owner: str | None = None
    remarks: list[Remark] = []
    for index, record in enumerate(part):
        if not record.speaks:
            if record.is_compression and record.compressed is None:
                remarks.append((-1, NO_HISTORY))
            if record.compressed is None:
                continue
            turns = turns_of_contents(record.compressed)
            num_prompt = len(turns)
            continue
        message = record.row.value["message"]
        # The type of a record says who spoke where its content does not.
        role: Role | None = "assistant" if record.kind == "assistant" else None
        for found in messages_of_content(message, index, role):
            if turns and found.role == "assistant" and owner == record.uuid:
                turns[-1] = Turn(joined(turns[-1].message, found))
            else:
                turns.append(Turn(found))
            owner = record.uuid if found.role == "assistant" else None
    first = part[0].row
    name = thread.session if thread.agent is None else f"{thread.session}-{thread.agent}"
    details: dict[str, Any] = texts_of(first.value, ("cwd", "gitBranch", "version"))
    models = [text_or_none(record.row.value.get("model")) for record in part]
    if known := next(filter(None, models), None):
        details["model"] = known
    if thread.agent is not None:
        details["parent"] = thread.session
    if num_left:
        remarks.append((-1, f"{num_left} messages of branches that a rewind left are not read"))
    return build_reading(
        turns,
        max(num_prompt, num_leading_system(turns)),
        task=Task(id=name, environment="qwen_code"),
        digest=hash_of_texts(record.row.content_hash for record in part),
        outcome=Outcome(status="unknown", reason="a session log records no outcome"),
        source=first.source("qwen_code", details),
        remarks=remarks,
    )


def _accounted(record: _Record) -> SourceRow:
    """The part of a record that has to be carried over."""
    if record.speaks:
        return record.row
    fields = dict(record.row.value)
    payload = fields.pop("systemPayload", None)
    if record.compressed is not None:
        payload = dict(payload)
        fields["contents"] = payload.pop("compressedHistory")
        payload.pop("info", None)
    return record.row.part({**fields, "payload": payload})
