"""Runs of OpenHands: event lists, evaluation outputs with a history, events of its SDK.

A row is one of three things: one event (a file of events is one run, and so is a folder with one
file an event), a list of events, or an object with the events under `history`, `trajectory` or
`events`, as evaluations write it. A condensation begins a new trajectory, with what the agent still
had as its prompt. The events of a delegate are a trajectory of their own. Completion logs of models
that call tools in text are read too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.config import Config
from atlas.records import Message, Outcome
from atlas.trajectories.formats.agent_logs import build_reading, hash_of_texts
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    outcome_of_row,
    task_of_row,
)
from atlas.trajectories.formats.conversations import OUTCOME_KEYS, num_leading_system
from atlas.trajectories.formats.convert_rows import convert_rows
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.gathered_rows import gathered
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.openhands.completions import (
    completion_turns,
    essential_completion,
)
from atlas.trajectories.formats.openhands.event_views import Entry, event_id, segments_of
from atlas.trajectories.formats.openhands.old_events import OldEvents, essential, is_old_event
from atlas.trajectories.formats.openhands.sdk_events import UNSEEN_KINDS, SDKEvents, is_sdk_event
from atlas.trajectories.formats.openhands.sdk_events import essential as essential_of_sdk
from atlas.trajectories.formats.openhands.store import is_state, rows_of_conversation
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

EVENTS_KEYS = ("history", "trajectory", "events")
INSTRUCTION = "the history has no message of the user; the row's instruction is the first message"
# The reasons with which a run ends at a limit.
LIMITS = ("maximum iteration", "maximum budget", "max iterations", "stuck in a loop", "stuckinloop")


class OpenHandsFormat:
    """Reads runs of OpenHands, before and with its SDK."""

    # What an evaluation and a server keep about a run.
    metadata = (
        "metadata",
        "metrics",
        "llm_metrics",
        "instance",
        "instruction",
        "issue",
        "test_result",
        "report",
        "git_patch",
        "llm_completions",
        "*.llm_response_id",
        "events.tool_name",
        "*.tool_call.origin",
        "*.tool_call.responses_item_id",
        "*.cache_prompt",
        "*.llm_message.cache_enabled",
        "*.llm_message.vision_enabled",
        "*.llm_message.function_calling_enabled",
        "*.llm_message.force_string_serializer",
        "*.llm_message.send_reasoning_content",
        "attempt",
        "runtime_runs",
        "*._response_ms",
        "*.recall_type",
        "*.microagent_knowledge.name",
        "*.microagent_knowledge.trigger",
        "*.runtime_hosts",
        "*.summary_offset",
        "*.responses_reasoning_item",
        "*.action_id",
        "*.model_response.choices.message.provider_specific_fields",
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        if is_state(row) or is_prompted_completion(row) or _is_event(row):
            return True
        return bool(_events_of(row))

    def read(self, source: SourceFile) -> Iterator[Item]:
        rows = gathered(rows_of_conversation(source), _is_event, _may_be_event)
        return convert_rows(rows, self.convert, self.metadata, source.ignored, accounted=_accounted)

    def convert(self, row: SourceRow) -> Iterator[Reading]:
        """The trajectories of a row that holds the events of a run."""
        fields = row.value if isinstance(row.value, dict) else {}
        if is_state(row.value):
            # What the program keeps beside the events.
            return
        if is_prompted_completion(row.value):
            yield _completion(row)
            return
        events = _events_of(row.value)
        if not events and any(fields.get(key) == [] for key in EVENTS_KEYS):
            error = text_or_none(fields.get("error"))
            raise BadRowError(f"the run has no events{f', its error is: {error}' if error else ''}")
        if not events:
            raise BadRowError(
                "no events of OpenHands, expected objects with 'action', 'observation' or 'kind' "
                "under 'history', 'trajectory' or 'events'"
            )
        digest = row.content_hash
        task = task_of_row(fields, otherwise=f"openhands-{digest}")
        outcome = _outcome(fields, events)
        used = {*EVENTS_KEYS, *OUTCOME_KEYS, *ID_KEYS}
        details = details_of_row(fields, used)
        num_left = len(events) - len(_active(events))
        left = [(-1, f"{num_left} events that a rewind left behind")] if num_left else []
        number = 0
        for name, own in _streams(events):
            reader = SDKEvents() if is_sdk_event(own[0][1]) else OldEvents()
            entries = [_read(reader, event, index) for index, event in own]
            known = _with_instruction([entry for entry in entries if entry], fields)
            for segment in segments_of(known, _num_prompt(known)):
                extra = {"delegate": name} if name else {}
                yield build_reading(
                    segment.turns,
                    segment.num_prompt,
                    task=task,
                    digest=hash_of_texts((digest, str(number))) if number else digest,
                    outcome=outcome,
                    source=row.source("openhands", details | extra),
                    tools=tuple(tool for tool in reader.tools if isinstance(tool, dict)),
                    remarks=segment.remarks if number else left + segment.remarks,
                )
                number += 1
        if not number:
            raise BadRowError("no action or message of the agent, so no step")


def _active(events: Sequence[Any]) -> list[tuple[int, Any]]:
    """The events with their places, on the path to the last one where events name their parents.

    What a rewind left behind is not on that path.
    """
    numbered = list(enumerate(events))
    parents = [object_or_empty(event).get("parent_id") for event in events]
    if not any(parents):
        return numbered
    places = {event_id(object_or_empty(event).get("id")): index for index, event in numbered}
    path: list[tuple[int, Any]] = []
    index = len(events) - 1
    while index >= 0:
        path.append(numbered[index])
        parent = event_id(parents[index])
        # An event without a known parent follows the one before it; a root follows none.
        above = index - 1 if parent is None else places.get(parent, -1)
        index = min(above, index - 1)
    return path[::-1]


def _read(reader: OldEvents | SDKEvents, event: Any, index: int) -> Entry | None:
    if not isinstance(event, dict):
        raise BadRowError(f"{event!r:.60} is not an event, expected an object", index)
    if isinstance(reader, OldEvents) and not is_old_event(event):
        keys = ", ".join(map(str, event))[:80]
        raise BadRowError(f"an event without 'action' or 'observation' (its keys: {keys})", index)
    return reader.read(event, index)


def _is_event(value: Any) -> bool:
    """Whether a row is one event; older ones are recognized by their source and fields."""
    if is_sdk_event(value):
        return True
    return is_old_event(value) and "source" in value and ("args" in value or "extras" in value)


def _events_of(row: Any) -> list[Any]:
    """The events in a row, one after the other, also where they come in pairs."""
    found = row
    if isinstance(row, dict):
        found = next((v for key in EVENTS_KEYS if (v := decode_nested(row.get(key)))), None)
        found = found.get("events") if isinstance(found, dict) else found
    if not isinstance(found, list) or not found:
        return []
    first = found[0]
    if isinstance(first, list) and first and is_old_event(first[0]):
        found = [event for pair in found for event in (pair if isinstance(pair, list) else [pair])]
        first = found[0]
    return found if is_old_event(first) or is_sdk_event(first) else []


def _may_be_event(value: Any) -> bool:
    """Whether a row within a run of events belongs to it, so that an unknown event is reported."""
    return isinstance(value, dict) and not _events_of(value) and "messages" not in value


def _completion(row: SourceRow) -> Reading:
    """The trajectory of a completion log, a chat with the answer beside it."""
    digest = row.content_hash
    turns = completion_turns(row.value)
    return build_reading(
        turns,
        num_leading_system(turns),
        task=task_of_row(row.value, otherwise=f"openhands-{digest}"),
        digest=digest,
        outcome=outcome_of_row(row.value),
        source=row.source("openhands", {}),
    )


def _accounted(row: SourceRow) -> list[SourceRow]:
    """The row whose events hold nothing twice, for the accounting."""
    if is_prompted_completion(row.value):
        return [row.part(essential_completion(row.value))]
    reduced = [
        essential_of_sdk(event) if is_sdk_event(event) else essential(event)
        for _, event in _active(_events_of(row.value))
        if isinstance(event, dict)
    ]
    fields = row.value if isinstance(row.value, dict) else {}
    others = {key: value for key, value in fields.items() if key not in EVENTS_KEYS}
    return [row.part({**others, "events": reduced})]


def _streams(events: Sequence[Any]) -> Iterator[tuple[str, list[tuple[int, Any]]]]:
    """The events of the agent, then those of each delegate, with their places in the row.

    A delegate's events stand between the action that calls it and the observation that returns.
    """
    main: list[tuple[int, Any]] = []
    delegates: list[tuple[str, list[tuple[int, Any]]]] = []
    open_: list[int] = []
    for index, event in _active(events):
        value = object_or_empty(event)
        returns = value.get("observation") == "delegate" and is_old_event(value)
        if returns and open_:
            open_.pop()
        (delegates[open_[-1]][1] if open_ else main).append((index, event))
        if value.get("action") == "delegate" and is_old_event(value):
            name = text_or_none(object_or_empty(value.get("args")).get("agent")) or "delegate"
            open_.append(len(delegates))
            delegates.append((name, []))
    yield "", main
    yield from (delegate for delegate in delegates if delegate[1])


def _outcome(fields: Mapping[str, Any], events: Sequence[Any]) -> Outcome:
    """What the evaluation decided; else the error with which the run ended."""
    outcome = outcome_of_row(fields)
    error = text_or_none(fields.get("error")) or _error_of(events)
    if outcome.status != "unknown" or error is None:
        return outcome
    is_limit = any(limit in error.lower() for limit in LIMITS)
    return outcome.model_copy(
        update={"status": "truncated" if is_limit else "error", "reason": error}
    )


def _error_of(events: Sequence[Any]) -> str | None:
    """The error of the last event, where the SDK says that the conversation failed."""
    for event in reversed(events):
        kind = object_or_empty(event).get("kind")
        if kind == "ConversationErrorEvent":
            parts = [text_or_none(event.get(key)) for key in ("code", "detail")]
            return ": ".join(part for part in parts if part) or "the conversation failed"
        if kind not in UNSEEN_KINDS:
            return None
    return None


def _with_instruction(entries: list[Entry], fields: Mapping[str, Any]) -> list[Entry]:
    """The entries, after the instruction of the row where no message is before the first answer.

    Some evaluations give the instruction to the agent and do not keep it among the events.
    """
    instruction = text_or_none(fields.get("instruction"))
    place = _num_prompt(entries)
    shown = (entry.message for entry in entries[place:] if entry.message is not None)
    first = next(shown, None)
    if instruction is None or first is None or first.role != "assistant":
        return entries
    message = Message(role="user", content=instruction)
    return [*entries[:place], Entry(message=message, remark=INSTRUCTION), *entries[place:]]


def _num_prompt(entries: Sequence[Entry]) -> int:
    """The number of system messages at the start."""
    for index, entry in enumerate(entries):
        if entry.message is None or entry.message.role != "system":
            return index
    return len(entries)


def is_prompted_completion(row: Any) -> bool:
    """Whether a row is a completion log of OpenHands whose model called tools in text."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("messages"), list)
        and "response" in row
        and ("raw_response" in row or "fncall_messages" in row)
    )
