"""Model calls that were recorded one by one -> the conversations that they make up.

A call holds what a model was given and what it answered. Histories are usually cumulative: if the
input of a call begins with an earlier conversation, the call continues it. Otherwise it begins
another one: a sub-agent's, or one whose history was shortened or edited.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from atlas.records import Message, Outcome, Problem, Task, ToolCall
from atlas.trajectories.formats.accounting import settle
from atlas.trajectories.formats.agent_logs import build_reading, hash_of_texts, problem_of
from atlas.trajectories.formats.conventions import UNKNOWN_ENVIRONMENT
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.messages import Turn, decode_nested, is_cut_short
from atlas.trajectories.formats.model_calls import (
    Key,
    ModelCall,
    RecordedCalls,
    ToolRun,
    key_of,
)
from atlas.trajectories.formats.rows import BadRowError, Item, Reading


@dataclass(slots=True)
class _Conversation:
    """A conversation so far; its first `num_copied` messages belong to another one."""

    messages: list[Message] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    num_copied: int = 0
    calls: list[ModelCall] = field(default_factory=list)
    digest: int = 0

    def extend(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.messages.append(message)
            self.keys.append(key_of(message))
            self.digest = hash((self.digest, self.keys[-1]))


def read_record(
    record: RecordedCalls,
    where: str,
    format_name: str,
    metadata: tuple[str, ...],
    ignored: tuple[str, ...],
) -> Iterator[Item]:
    """The lines of the trajectories in a record, and problems.

    Args:
        where: the name of the file, for people.
    """
    chosen, wrappers = _chosen(record)
    known = {call.trace for call in chosen}
    if chosen and (strange := sum(run.trace not in known for run in record.runs)):
        reason = f"{strange} results of tools belong to no trace with a model call"
        yield Problem(where=where, reason=reason)
    runs_of: dict[str, list[ToolRun]] = {}
    for run in sorted(record.runs, key=lambda run: run.start):
        runs_of.setdefault(run.trace, []).append(run)
    others = _others(record)
    for name, members in _groups(chosen).items():
        conversations = _conversations(sorted(members, key=lambda call: call.start))
        traces = dict.fromkeys(call.trace for call in members)
        runs = [run for trace in traces for run in runs_of.get(trace, ())]
        readings: list[tuple[_Conversation, Reading]] = []
        for conversation in conversations:
            try:
                readings.append((conversation, _reading(name, conversation, runs, format_name)))
            except (BadRowError, RecursionError, ValidationError) as error:
                yield problem_of(error, conversation.calls[0].row.where, name)
        notes = [*_not_read(others, traces), *_unseen(runs, conversations)]
        for conversation, reading in readings:
            reading = reading._replace(remarks=[*reading.remarks, *((-1, note) for note in notes)])
            notes = []
            told = [*conversation.calls]
            told += [wrapper for call in conversation.calls for wrapper in wrappers[id(call)]]
            try:
                rows = [call.row.part(call.accounted()) for call in told]
                yield from settle([*rows, *record.rest], [reading], metadata, ignored)
            except (BadRowError, RecursionError) as error:
                yield problem_of(error, conversation.calls[0].row.where, name)
            record.rest.clear()


def _chosen(record: RecordedCalls) -> tuple[list[ModelCall], dict[int, list[ModelCall]]]:
    """The calls to read, and the calls around each that only repeat it.

    The calls of an agent hold more than its own span. Of model calls within one another, the
    innermost is what the model got.
    """
    traces = {call.trace for call in record.calls if not call.is_agent}
    calls = [call for call in record.calls if not call.is_agent or call.trace not in traces]
    by_span = {(call.trace, call.span): call for call in calls if call.span}
    around: dict[int, list[ModelCall]] = {id(call): [] for call in calls}
    outer: set[int] = set()
    inner: set[int] = set()
    for call in calls:
        for above in _above(call, record):
            found = by_span.get(above)
            if found is None or found is call:
                continue
            if call.is_agent:
                inner.add(id(call))
            else:
                outer.add(id(found))
                around[id(call)].append(found)
    left = [call for call in calls if id(call) not in outer and id(call) not in inner]
    return left, around


def _above(call: ModelCall, record: RecordedCalls) -> Iterator[tuple[str, str]]:
    """The spans around a call, up to a tool that ran."""
    seen = {call.span}
    span = record.parents.get((call.trace, call.span))
    while span is not None and span not in seen and (call.trace, span) not in record.tool_spans:
        yield call.trace, span
        seen.add(span)
        span = record.parents.get((call.trace, span))


def _groups(calls: Sequence[ModelCall]) -> dict[str, list[ModelCall]]:
    """The calls of each conversation: those that share a trace or the name of a session."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for call in calls:
        if call.session is not None:
            leader[find(f"trace {call.trace}")] = find(f"session {call.session}")
    groups: dict[str, list[ModelCall]] = {}
    for call in calls:
        groups.setdefault(find(f"trace {call.trace}"), []).append(call)
    named: dict[str, list[ModelCall]] = {}
    for members in groups.values():
        sessions = {call.session for call in members} - {None}
        name = sessions.pop() if len(sessions) == 1 else None
        named.setdefault(name or members[0].trace, []).extend(members)
    return named


def _conversations(calls: Sequence[ModelCall]) -> list[_Conversation]:
    """Each call continues the longest conversation that its input begins with, or begins one."""
    conversations: list[_Conversation] = []
    # By the digest of all messages.
    by_end: dict[int, list[_Conversation]] = {}
    answers: set[Key] = set()
    made: set[str | None] = set()
    for call in calls:
        keys = [key_of(message) for message in call.input]
        found = _longest(keys, by_end)
        if found is not None:
            by_end[found.digest].remove(found)
            found.extend(call.input[len(found.keys) :])
        elif sent := _sends_only_new(call, conversations):
            found = sent
            by_end[found.digest].remove(found)
            found.extend(message for message in call.input if message.role != "system")
        else:
            copied = [
                index + 1
                for index, key in enumerate(keys)
                if key in answers or (key[3] and made.issuperset(id_ for id_, _ in key[3]))
            ]
            found = _Conversation(num_copied=copied[-1] if copied else 0)
            found.extend(call.input)
            conversations.append(found)
        found.extend(call.output)
        found.calls.append(call)
        by_end.setdefault(found.digest, []).append(found)
        answers |= {key_of(message) for message in call.output if message.role == "assistant"}
        made.update(one.id for message in call.output for one in message.tool_calls)
        made.discard(None)
    return conversations


def _longest(
    keys: Sequence[Key], by_end: Mapping[int, Sequence[_Conversation]]
) -> _Conversation | None:
    """The longest conversation that messages begin with."""
    digest = 0
    found: _Conversation | None = None
    for number, key in enumerate(keys, start=1):
        digest = hash((digest, key))
        for each in by_end.get(digest, ()):
            if each.keys == keys[:number]:
                found = each
                break
    return found


def _sends_only_new(
    call: ModelCall, conversations: Sequence[_Conversation]
) -> _Conversation | None:
    """The conversation that a call continues, which sends no answers of the model along.

    It answers the calls of the last turn, or belongs to the same session of a source that may
    send only what is new.
    """
    if not conversations or any(message.role == "assistant" for message in call.input):
        return None
    system = [message for message in call.input if message.role == "system"]
    results = {each.tool_call_id for each in call.input if each.role == "tool"} - {None}
    for each in reversed(conversations if results else ()):
        known = [message for message in each.messages if message.role == "system"]
        if (not system or system == known) and results <= {
            pending.id for pending in _pending(each.messages)
        }:
            return each
    last = conversations[-1]
    known = [message for message in last.messages if message.role == "system"]
    is_same = call.sends_new and call.session == last.calls[-1].session
    return last if is_same and (not system or system == known) and call.input else None


def _pending(messages: Sequence[Message]) -> list[ToolCall]:
    """The calls of the last answer that have no result yet."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            done = {message.tool_call_id for message in messages[index + 1 :]} - {None}
            unnamed = sum(
                message.role == "tool" and message.tool_call_id is None
                for message in messages[index + 1 :]
            )
            left = [call for call in messages[index].tool_calls if call.id not in done]
            return left[unnamed:]
    return []


def _reading(
    name: str,
    conversation: _Conversation,
    runs: list[ToolRun],
    format_name: str,
) -> Reading:
    calls, messages = conversation.calls, conversation.messages
    messages += _last_results(conversation, runs)
    turns = [Turn(message) for message in messages]
    first = calls[0]
    details = {"trace_id": first.trace, "calls": len(calls), **first.details}
    notes = dict.fromkeys(note for call in calls for note in call.notes)
    if conversation.num_copied:
        notes["its history is that of an earlier conversation, shortened or edited"] = None
    return build_reading(
        turns,
        max(num_leading_system(turns), conversation.num_copied),
        task=Task(id=name, environment=first.agent or UNKNOWN_ENVIRONMENT),
        digest=hash_of_texts(message.model_dump_json() for message in messages),
        outcome=_outcome(calls),
        source=first.row.source(format_name, details),
        tools=_tools(calls),
        remarks=[(-1, note) for note in notes],
    )


def _tools(calls: Sequence[ModelCall]) -> tuple[dict[str, Any], ...]:
    """The schemas that any of the calls had, each once."""
    found: dict[str, dict[str, Any]] = {}
    for call in calls:
        for tool in call.tools:
            found.setdefault(json.dumps(tool, sort_keys=True), tool)
    return tuple(found.values())


def _last_results(conversation: _Conversation, runs: list[ToolRun]) -> list[Message]:
    """The results of the last calls, which no model saw, from the runs of their tools."""
    start = conversation.calls[-1].start
    results: list[Message] = []
    for call in _pending(conversation.messages):
        by_id = [run for run in runs if run.id is not None and run.id == call.id]
        named = [run for run in runs if run.name == call.name and run.start >= start and not run.id]
        given = decode_nested(call.arguments)
        alike = [run for run in named if _arguments_of(run) == given]
        if run := next(iter([*by_id, *alike, *named]), None):
            runs.remove(run)
            results.append(
                Message(role="tool", content=run.result, tool_call_id=call.id, name=call.name)
            )
    return results


def _unseen(runs: Sequence[ToolRun], conversations: Sequence[_Conversation]) -> list[str]:
    """How many results of tools reached no model and are not the last observation."""
    shown = [
        message
        for conversation in conversations
        for message in conversation.messages
        if message.role == "tool"
    ]
    ids = {message.tool_call_id for message in shown}
    texts = {_canonical(message.content) for message in shown}
    unseen = [
        run
        for run in runs
        if not (run.id is not None and run.id in ids) and _canonical(run.result) not in texts
    ]
    return [f"{len(unseen)} results of tools stand in no request"] if unseen else []


def _canonical(text: str) -> str:
    value = decode_nested(text)
    return text.strip() if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _arguments_of(run: ToolRun) -> Any:
    given = decode_nested(run.arguments)
    is_wrapped = isinstance(given, dict) and given.keys() == {"input"}
    return decode_nested(given["input"]) if is_wrapped else given


def _outcome(calls: Sequence[ModelCall]) -> Outcome:
    last = calls[-1]
    if last.error is not None:
        return Outcome(status="error", reason=last.error)
    if is_cut_short(last.finish_reason):
        reason = f"the last answer ended with '{last.finish_reason}'"
        return Outcome(status="truncated", reason=reason)
    known = [call.outcome for call in calls if call.outcome is not None]
    return known[-1] if known else Outcome(status="unknown", reason="spans record no outcome")


def _others(record: RecordedCalls) -> dict[str, Counter[str]]:
    """How many spans of each trace were not read, by their kind; agents beside model calls too."""
    others = {trace: Counter(found) for trace, found in record.others.items()}
    with_models = {call.trace for call in record.calls if not call.is_agent}
    for call in record.calls:
        if call.is_agent and call.trace in with_models:
            others.setdefault(call.trace, Counter())["agent"] += 1
    return others


def _not_read(others: Mapping[str, Counter[str]], traces: Iterable[str]) -> list[str]:
    total: Counter[str] = Counter()
    for trace in traces:
        total += others.get(trace, Counter())
    if not total:
        return []
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(total.items()))
    return [f"spans without model calls were not read: {kinds}"]
