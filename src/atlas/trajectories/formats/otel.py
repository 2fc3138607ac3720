"""GenAI spans of OpenTelemetry, as JSON (`{"resourceSpans": […]}`).

The model calls of one conversation are one trajectory. A call holds the input and the answer of the
model, in attributes (`gen_ai.input.messages`) or, in the older form, in events
(`gen_ai.user.message`, `gen_ai.choice`). Histories are usually cumulative: if the input of a call
begins with an earlier conversation, the call continues it. Otherwise it starts another trajectory
(a sub-agent, for example).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from atlas.config import Config
from atlas.records import Message, Outcome, Problem, Task, Trajectory
from atlas.trajectories.formats.agent_logs import (
    build_trajectory,
    hash_of_texts,
    problem_of,
    texts_of,
)
from atlas.trajectories.formats.conventions import UNKNOWN_ENVIRONMENT
from atlas.trajectories.formats.conversations import num_leading_system, read_tools
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.otel_spans import ModelCall, calls_of_document
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.source_file import SourceFile

CUT_SHORT = ("length", "max_tokens")
DETAILS = ("gen_ai.request.model", "gen_ai.agent.name")


class OTelFormat:
    """Reads GenAI spans, one export a file or a line."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return isinstance(row, dict) and isinstance(
            row.get("resourceSpans", row.get("resource_spans")), list
        )

    def read(self, source: SourceFile) -> Iterator[Trajectory | Problem]:
        calls: list[ModelCall] = []
        num_problems = 0
        for item in self._calls(source):
            if isinstance(item, Problem):
                num_problems += 1
                yield item
            else:
                calls.append(item)
        if not calls and not num_problems:
            reason = "no span holds messages. Was the content of messages captured?"
            yield Problem(where=source.name, reason=reason)
        yield from _trajectories(calls)

    def _calls(self, source: SourceFile) -> Iterator[ModelCall | Problem]:
        for row in source.rows():
            if isinstance(row, Problem):
                yield row
            elif self.matches(row.value):
                yield from calls_of_document(row)
            else:
                reason = "not an export of spans, expected an object with 'resourceSpans'"
                yield Problem(where=row.where, reason=reason)


@dataclass(slots=True)
class _Conversation:
    """A conversation so far; its first `num_copied` messages belong to another one."""

    messages: list[Message]
    num_copied: int = 0
    calls: list[ModelCall] = field(default_factory=list)


def _trajectories(calls: Sequence[ModelCall]) -> Iterator[Trajectory | Problem]:
    groups: dict[str, list[ModelCall]] = {}
    traces_of_calls = {call.trace for call in calls if not call.is_agent}
    for call in calls:
        # The model calls of an agent hold more than its own span.
        if not call.is_agent or call.trace not in traces_of_calls:
            groups.setdefault(call.group, []).append(call)
    for group, members in groups.items():
        for conversation in _conversations(sorted(members, key=lambda call: call.start)):
            try:
                yield _trajectory(group, conversation)
            except BadRowError as error:
                yield problem_of(error, conversation.calls[0].row.where, group)


def _conversations(calls: Sequence[ModelCall]) -> list[_Conversation]:
    """Each call continues the longest conversation that its input begins with, or begins one."""
    conversations: list[_Conversation] = []
    answers: set[Key] = set()
    for call in calls:
        keys = [_key(message) for message in call.input]
        extended = [
            each
            for each in conversations
            if [_key(message) for message in each.messages] == keys[: len(each.messages)]
        ]
        if extended:
            found = max(extended, key=lambda each: len(each.messages))
            found.messages += call.input[len(found.messages) :]
        elif conversations and _sends_only_new(call, conversations[-1]):
            found = conversations[-1]
            found.messages += (message for message in call.input if message.role != "system")
        else:
            copied = [index + 1 for index, key in enumerate(keys) if key in answers]
            found = _Conversation([*call.input], copied[-1] if copied else 0)
            conversations.append(found)
        found.messages += call.output
        found.calls.append(call)
        answers |= {_key(message) for message in call.output}
    return conversations


def _sends_only_new(call: ModelCall, conversation: _Conversation) -> bool:
    sent, known = (
        [message for message in messages if message.role == "system"]
        for messages in (call.input, conversation.messages)
    )
    return call.is_continuation and (not sent or sent == known)


Key = tuple[str, str, str | None, tuple[tuple[str | None, str], ...]]


def _key(message: Message) -> Key:
    """The part of a message that later calls repeat unchanged: not reasoning or argument format."""
    calls = tuple((call.id, call.name) for call in message.tool_calls)
    return message.role, message.content.strip(), message.tool_call_id, calls


def _trajectory(group: str, conversation: _Conversation) -> Trajectory:
    messages, calls = conversation.messages, conversation.calls
    turns = [Turn(message) for message in messages]
    named = texts_of(calls[0].attributes, DETAILS)
    details = {"trace_id": calls[0].trace, "calls": len(calls), **named}
    tools = (read_tools(call.attributes.get("gen_ai.tool.definitions")) for call in calls)
    return build_trajectory(
        turns,
        max(num_leading_system(turns), conversation.num_copied),
        task=Task(id=group, environment=named.get("gen_ai.agent.name", UNKNOWN_ENVIRONMENT)),
        digest=hash_of_texts(message.model_dump_json() for message in messages),
        outcome=_outcome(calls[-1]),
        source=calls[0].row.source("otel", details),
        tools=next(filter(None, tools), ()),
    )


def _outcome(last: ModelCall) -> Outcome:
    if last.error is not None:
        return Outcome(status="error", reason=last.error)
    if last.finish_reason in CUT_SHORT:
        reason = f"the last answer ended with '{last.finish_reason}'"
        return Outcome(status="truncated", reason=reason)
    return Outcome(status="unknown", reason="spans record no outcome")
