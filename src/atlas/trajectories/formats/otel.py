"""GenAI spans of OpenTelemetry, as JSON (`{"resourceSpans": […]}`).

The model calls of one conversation are one trajectory. A call holds what the model was sent and
what it answered, in attributes (`gen_ai.input.messages`) or, in the older form, in events
(`gen_ai.user.message`, `gen_ai.choice`). Histories usually are cumulative: a call whose input
begins with a conversation continues it. A call that begins another conversation within a trace (a
sub-agent, a helper) begins another trajectory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from atlas.config import Config
from atlas.records import Message, Outcome, Problem, Source, Task, Trajectory
from atlas.trajectories.formats.conventions import UNKNOWN_ENVIRONMENT
from atlas.trajectories.formats.conversations import (
    num_leading_system,
    read_tools,
    split_conversation,
)
from atlas.trajectories.formats.fields import text_or_none
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.otel_spans import ModelCall, calls_of_document
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.source_file import SourceFile

CUT_SHORT = ("length", "max_tokens")


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
        for row in source.rows():
            if isinstance(row, Problem):
                num_problems += 1
                yield row
                continue
            if not self.matches(row.value):
                num_problems += 1
                yield Problem(
                    where=row.where,
                    reason="not an export of spans, expected an object with 'resourceSpans'",
                )
                continue
            for call in calls_of_document(row):
                if isinstance(call, Problem):
                    num_problems += 1
                    yield call
                else:
                    calls.append(call)
        if not calls and not num_problems:
            yield Problem(
                where=source.name,
                reason="no span holds messages. Was the content of messages captured?",
            )
        yield from _trajectories(calls, source.name)


@dataclass(slots=True)
class _Conversation:
    """A conversation so far; its first `num_copied` messages belong to another one."""

    messages: list[Message]
    num_copied: int = 0
    calls: list[ModelCall] = field(default_factory=list)

    @property
    def system(self) -> list[Message]:
        return [message for message in self.messages if message.role == "system"]


def _trajectories(calls: Sequence[ModelCall], file_name: str) -> Iterator[Trajectory | Problem]:
    groups: dict[str, list[ModelCall]] = {}
    traces_of_calls = {call.trace for call in calls if not call.is_agent}
    for call in calls:
        if call.is_agent and call.trace in traces_of_calls:
            # The calls of its model hold more.
            continue
        groups.setdefault(call.group, []).append(call)
    for group, members in groups.items():
        members.sort(key=lambda call: call.start)
        for conversation in _conversations(members):
            try:
                yield _trajectory(group, conversation, file_name)
            except BadRowError as error:
                yield Problem(where=conversation.calls[0].where, reason=str(error), item=group)


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
            found.messages += [*call.input[len(found.messages) :], *call.output]
        elif conversations and _sends_only_new(call, conversations[-1]):
            found = conversations[-1]
            found.messages += [
                *(message for message in call.input if message.role != "system"),
                *call.output,
            ]
        else:
            copied = [index + 1 for index, key in enumerate(keys) if key in answers]
            found = _Conversation([*call.input, *call.output], copied[-1] if copied else 0)
            conversations.append(found)
        found.calls.append(call)
        answers |= {_key(message) for message in call.output}
    return conversations


def _sends_only_new(call: ModelCall, conversation: _Conversation) -> bool:
    system = [message for message in call.input if message.role == "system"]
    return call.is_continuation and (not system or system == conversation.system)


Key = tuple[str, str, str | None, tuple[tuple[str | None, str], ...]]


def _key(message: Message) -> Key:
    """What a later call repeats of a message; reasoning and spelling of arguments may change."""
    return (
        message.role,
        message.content.strip(),
        message.tool_call_id,
        tuple((call.id, call.name) for call in message.tool_calls),
    )


def _trajectory(group: str, conversation: _Conversation, file_name: str) -> Trajectory:
    turns = [Turn(message) for message in conversation.messages]
    num_system = num_leading_system(turns)
    parts = split_conversation(turns, max(num_system, conversation.num_copied))
    first, last = conversation.calls[0], conversation.calls[-1]
    digest = hashlib.sha256(
        "".join(message.model_dump_json() for message in conversation.messages).encode()
    ).hexdigest()[:12]
    details: dict[str, Any] = {"trace_id": first.trace, "calls": len(conversation.calls)}
    details |= {
        key: text
        for key in ("gen_ai.request.model", "gen_ai.agent.name")
        if (text := text_or_none(first.attributes.get(key)))
    }
    return Trajectory(
        id=f"{group}-{digest}",
        task=Task(
            id=group,
            environment=text_or_none(first.attributes.get("gen_ai.agent.name"))
            or UNKNOWN_ENVIRONMENT,
        ),
        prompt=parts.prompt,
        tools=next(
            (
                tools
                for call in conversation.calls
                if (tools := read_tools(call.attributes.get("gen_ai.tool.definitions")))
            ),
            (),
        ),
        steps=parts.steps,
        final_observation=parts.final_observation,
        outcome=_outcome(last),
        source=Source(name="otel", path=file_name, row=first.row, line=first.line, details=details),
    )


def _outcome(last: ModelCall) -> Outcome:
    if last.error is not None:
        return Outcome(status="error", reason=last.error)
    if last.finish_reason in CUT_SHORT:
        return Outcome(
            status="truncated", reason=f"the last answer ended with '{last.finish_reason}'"
        )
    return Outcome(status="unknown", reason="spans record no outcome")
