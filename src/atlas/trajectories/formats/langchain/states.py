"""Messages of LangChain and LangGraph, and runs of LangSmith.

A row is a list of messages, a state of a graph that holds one, or a run. States of one run follow
each other; a state that goes on from the one before replaces it. Runs are model calls
(`model_calls`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from atlas.config import Config
from atlas.records import Message, Outcome, Problem
from atlas.trajectories.formats.accounting import settle
from atlas.trajectories.formats.agent_logs import build_reading, problem_of
from atlas.trajectories.formats.conventions import details_of_row, outcome_of_row, task_of_row
from atlas.trajectories.formats.conversations import num_leading_system, read_tools
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.frameworks.accounting import setting_paths, without_unreadable
from atlas.trajectories.formats.frameworks.messages import FrameworkMessages
from atlas.trajectories.formats.frameworks.shapes import finish_reason_of
from atlas.trajectories.formats.langchain.langsmith import METADATA as RUN_METADATA
from atlas.trajectories.formats.langchain.langsmith import gather_runs, is_runs
from atlas.trajectories.formats.langchain.messages import REMOVE_ALL, fields_of, is_telling, kind_of
from atlas.trajectories.formats.merged_calls import read_record
from atlas.trajectories.formats.messages import Turn, decode_nested, is_cut_short
from atlas.trajectories.formats.model_calls import RecordedCalls
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

# Where the messages of a state stand.
PLACES = (
    ("messages",),
    ("values", "messages"),
    ("state", "values", "messages"),
    ("state", "messages"),
    ("channel_values", "messages"),
    ("checkpoint", "channel_values", "messages"),
    ("output", "messages"),
    ("outputs", "messages"),
    ("data", "messages"),
)
MESSAGES_TO_LOOK_AT = 50
MESSAGE_FIELDS = (
    "id",
    "example",
    "artifact",
    "response_metadata",
    "usage_metadata",
    "lc",
    "lc_attributes",
    "metadata",
    "error",
    "type",
    "tool_call_chunks",
    "chunk_position",
)
STATE_FIELDS = (
    "v",
    "config",
    "checkpoint_ns",
    "checkpoint_id",
    "channel_versions",
    "versions_seen",
    "pending_sends",
    "next",
    "tasks",
    "parent_config",
    "parent_checkpoint",
    "interrupts",
    "metadata",
    "step",
    "remaining_steps",
    "is_last_step",
)
THREADS = ("thread_id", "threadId", "session_id")


class LangChainFormat:
    """Reads messages of LangChain, states of LangGraph and runs of LangSmith."""

    metadata = (
        *(
            f"{start}{name}"
            for place in (*(".".join(place) for place in PLACES), "the list")
            for start in (f"{place}.", f"{place}.data.")
            for name in MESSAGE_FIELDS
        ),
        "*.invalid_tool_calls.error",
        *(f"*.additional_kwargs.{name}" for name in ("refusal", "parsed", "__openai_role__")),
        *(
            f"{start}{name}"
            for name in STATE_FIELDS
            for start in ("", "checkpoint.", "state.", "values.")
        ),
        *setting_paths(),
        *RUN_METADATA,
        *(
            f"{side}.{inner}{name}"
            for side in ("input", "output")
            for inner in ("", "messages.", "generations.message.")
            for name in MESSAGE_FIELDS
        ),
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return is_runs(row) or _is_state(row)

    def read(self, source: SourceFile) -> Iterator[Item]:
        record = RecordedCalls()
        waiting: SourceRow | None = None
        for row in source.rows():
            if isinstance(row, Problem):
                yield row
            elif is_runs(row.value):
                yield from gather_runs(row, record)
            elif _messages_of(row.value):
                if waiting is not None and _goes_on(waiting.value, row.value):
                    # A history with the newest state first.
                    continue
                if waiting is not None and not _goes_on(row.value, waiting.value):
                    yield from self._state(waiting, source.ignored)
                waiting = row
            else:
                reason = "no messages of LangChain and no run, expected 'messages' with 'type'"
                yield Problem(where=row.where, reason=reason)
        if waiting is not None:
            yield from self._state(waiting, source.ignored)
        yield from read_record(record, source.name, "langchain", self.metadata, source.ignored)

    def _state(self, row: SourceRow, ignored: tuple[str, ...]) -> Iterator[Item]:
        try:
            messages, removed = _without_removed(_messages_of(row.value))
            reading = _reading(row, messages, removed)
            place = row.part(_accounted(row.value, messages))
            yield from settle([place], [reading], self.metadata, ignored)
        except (BadRowError, RecursionError, ValidationError) as error:
            yield problem_of(error, row.where)


def is_langchain(row: Any) -> bool:
    """Whether a row certainly holds messages of LangChain."""
    return any(is_telling(one) for one in _messages_of(row)[:MESSAGES_TO_LOOK_AT])


def _is_state(row: Any) -> bool:
    return is_langchain(row)


def _messages_of(row: Any) -> list[Any]:
    """The messages of a row, bare or in a state."""
    if isinstance(row, list):
        # What a stream of several modes gives: the name of the mode, and a state.
        is_named = len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], dict)
        return _messages_of(row[1]) if is_named else row
    for place in PLACES:
        value = row
        for key in place:
            value = decode_nested(object_or_empty(value).get(key))
        if isinstance(value, list) and value:
            # A batch of one list.
            return value[0] if len(value) == 1 and isinstance(value[0], list) else value
    return []


def _goes_on(row: Any, before: Any) -> bool:
    """Whether a state goes on from the one before: the same thread, or messages with equal ids."""
    known, messages = _messages_of(before), _messages_of(row)
    if len(messages) < len(known):
        return False
    try:
        pairs = zip(known, messages, strict=False)
        same = all(_identity(one) == _identity(other) for one, other in pairs)
    except RecursionError:
        return False
    thread = _thread(row)
    return same and (
        (thread is not None and thread == _thread(before))
        or all(_identity(one)[0] is not None for one in known)
    )


def _identity(message: Any) -> tuple[Any, Any, Any]:
    fields = fields_of(message) if isinstance(message, dict) else {}
    return fields.get("id"), kind_of(message), fields.get("content")


def _thread(row: Any) -> Any:
    fields = object_or_empty(row)
    configurable = object_or_empty(object_or_empty(fields.get("config")).get("configurable"))
    owners = (fields, configurable, object_or_empty(fields.get("metadata")))
    return next((one[key] for one in owners for key in THREADS if one.get(key)), None)


def _without_removed(messages: Sequence[Any]) -> tuple[list[Any], int]:
    """The messages that a state still has, and how many were removed from it."""
    left: list[Any] = []
    removed = 0
    for message in messages:
        if kind_of(message) != "remove":
            left.append(message)
            continue
        id_ = fields_of(message).get("id")
        kept = [
            one
            for one in left
            if id_ != REMOVE_ALL and not (isinstance(one, dict) and fields_of(one).get("id") == id_)
        ]
        removed += len(left) - len(kept)
        left = kept
    return left, removed


def _reading(row: SourceRow, messages: Sequence[Any], removed: int) -> Reading:
    reader = FrameworkMessages()
    read: list[Message] = reader.sent(messages)
    named = row.value[-1] if isinstance(row.value, list) and row.value else None
    fields = object_or_empty(row.value) or (object_or_empty(named) if len(row.value) == 2 else {})
    digest = row.content_hash
    thread = _thread(row.value)
    task = task_of_row(fields, otherwise=str(thread) if thread is not None else f"chat-{digest}")
    system = fields.get("system")
    if isinstance(system, str) and system and not any(one.role == "system" for one in read):
        read.insert(0, Message(role="system", content=system))
    outcome = outcome_of_row(fields)
    reason = finish_reason_of(messages[-1]) if messages else None
    if outcome.status == "unknown" and is_cut_short(reason):
        outcome = Outcome(
            status="truncated",
            score=outcome.score,
            reason=f"the last answer ended with '{reason}'",
        )
    turns = [Turn(message) for message in read]
    remarks = [(-1, note) for note in reader.notes]
    if removed:
        remarks.append((-1, f"{removed} messages were removed from the state"))
    return build_reading(
        turns,
        num_leading_system(turns),
        task=task,
        digest=digest,
        outcome=outcome,
        source=row.source("langchain", details_of_row(fields, ("messages", "system"))),
        tools=read_tools(fields.get("tools")) or read_tools(reader.tools) or (),
        remarks=remarks,
    )


def _accounted(row: Any, messages: Sequence[Any]) -> Any:
    """The row without the messages that were removed, and without media."""
    if isinstance(row, list) and _messages_of(row) is row:
        return {"messages": without_unreadable(list(messages))}
    if isinstance(row, list):
        row = row[1]
    kept: Mapping[str, Any] = _replaced(row, messages)
    return without_unreadable(kept)


def _replaced(row: Mapping[str, Any], messages: Sequence[Any]) -> dict[str, Any]:
    for place in PLACES:
        owners: list[dict[str, Any]] = [dict(row)]
        for key in place[:-1]:
            owners.append(dict(object_or_empty(decode_nested(owners[-1].get(key)))))
        if decode_nested(owners[-1].get(place[-1])):
            owners[-1][place[-1]] = list(messages)
            for index in range(len(owners) - 1, 0, -1):
                owners[index - 1][place[index - 1]] = owners[index]
            return owners[0]
    return dict(row)
