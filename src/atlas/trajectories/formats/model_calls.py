"""Calls of models and runs of tools that were recorded one by one, in any form of trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from atlas.records import Message, Outcome
from atlas.trajectories.formats.frameworks.calls import text_of_result
from atlas.trajectories.formats.langchain import messages as langchain_messages
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.rows import SourceRow

Key = tuple[str, str, str | None, tuple[tuple[str | None, str], ...]]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model, or the whole work of an agent.

    Attributes:
        session: the conversation that the call names.
        sends_new: the source may send only the new messages of a session.
        is_agent: it tells the whole work of an agent, whose calls may be recorded too.
        outcome: what the source says of the whole, if it does.
        row: where the call stands, without a value.
        accounted: gives what has to come out: input, output and attributes as they came.
        notes: what was left out.
    """

    trace: str
    span: str
    row: SourceRow
    accounted: Callable[[], Any]
    session: str | None = None
    sends_new: bool = False
    is_agent: bool = False
    start: int = 0
    input: tuple[Message, ...] = ()
    output: tuple[Message, ...] = ()
    finish_reason: str | None = None
    error: str | None = None
    agent: str | None = None
    tools: tuple[dict[str, Any], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolRun:
    """The execution of a tool, whose result usually stands in the next model call too."""

    trace: str
    name: str | None
    id: str | None
    start: int
    result: str
    arguments: Any = None


@dataclass(slots=True)
class RecordedCalls:
    """What was recorded in a file.

    Attributes:
        parents: of spans, by trace and span.
        tool_spans: the spans that run tools; what they hold is not a copy of what is above them.
        others: how many other spans each trace has, by their kind.
        rest: what stands beside the spans, which is accounted for once.
        messages: those that were read, since histories repeat them.
    """

    calls: list[ModelCall] = field(default_factory=list)
    runs: list[ToolRun] = field(default_factory=list)
    parents: dict[tuple[str, str], str] = field(default_factory=dict)
    tool_spans: set[tuple[str, str]] = field(default_factory=set)
    others: dict[str, Counter[str]] = field(default_factory=dict)
    rest: list[SourceRow] = field(default_factory=list)
    messages: dict[Message, Message] = field(default_factory=dict)

    def kept(self, messages: Iterable[Message]) -> tuple[Message, ...]:
        """The messages, equal ones as the same object."""
        return tuple(self.messages.setdefault(message, message) for message in messages)


def key_of(message: Message) -> Key:
    """The part of a message that later calls repeat unchanged: not reasoning or argument format."""
    calls = tuple((call.id, call.name) for call in message.tool_calls)
    return message.role, message.content.strip(), message.tool_call_id, calls


def without_repeated(sent: Sequence[Message], answered: Sequence[Message]) -> Sequence[Message]:
    """An agent's answer without the history that it repeats."""
    known = [key_of(message) for message in sent]
    again = [key_of(message) for message in answered[: len(sent)]]
    return answered[len(sent) :] if known and known == again else answered


def nanoseconds(value: Any) -> int:
    """A time in one of the usual forms, as a whole number to sort by; 0 if it is none.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, by their size.
    """
    if isinstance(value, str):
        if value.isdecimal() and len(value) < 30:
            return nanoseconds(int(value))
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return 0
        since = moment.replace(tzinfo=None) - datetime(1970, 1, 1)
        offset = moment.utcoffset()
        since = since - offset if offset is not None else since
        return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return 0
    if abs(value) >= 10**30:
        return 0
    for limit, factor in ((10**11, 10**9), (10**14, 10**6), (10**17, 1000)):
        if abs(value) < limit:
            return int(value * factor)
    return int(value)


def result_of_run(value: Any) -> str:
    """The result of a tool as a text; a JSON text of one text counts as that."""
    decoded = decode_nested(value)
    if langchain_messages.kind_of(decoded) == "tool":
        decoded = langchain_messages.fields_of(decoded).get("content")
        return text_of_result(decoded)
    return decoded if isinstance(decoded, str) else text_of_result(value)
