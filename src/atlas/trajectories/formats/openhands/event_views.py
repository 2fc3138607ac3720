"""Event streams of agents -> the turns that the agent had: `entries -> segments`.

An event stream is not a conversation: several events come from one generation, and a condensation
takes earlier events out of the agent's view. A segment ends where that happens: the next one has
the remaining view as its prompt, and only its own steps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from atlas.records import Message
from atlas.trajectories.formats.messages import Turn

EventId = str | int


@dataclass(frozen=True, slots=True)
class Condensation:
    """Events that leave the view of the agent, and what takes their place.

    Attributes:
        offset: the place of the summary in the view; without one the agent did not see it.
        replaces_summary: whether earlier summaries leave the view too.
    """

    forgotten: Collection[Any]
    summary: str | None = None
    offset: int | None = None
    replaces_summary: bool = False

    def forgets(self, id_: EventId | None) -> bool:
        # A range looks for anything but a whole number one by one.
        is_known = type(id_) is int if isinstance(self.forgotten, range) else id_ is not None
        return is_known and id_ in self.forgotten


@dataclass(frozen=True, slots=True)
class Entry:
    """What the agent knows of an event.

    Attributes:
        generation: the id of the answer of which the response is a part.
        is_placed: whether the event has a place in the view, also without a message.
        is_summary: whether it stands for events that were forgotten.
        remark: what could not be carried over.
    """

    id: EventId | None = None
    message: Message | None = None
    generation: str | None = None
    condensation: Condensation | None = None
    is_placed: bool = True
    is_summary: bool = False
    remark: str | None = field(default=None)


class Segment(NamedTuple):
    """The turns between two condensations, after a prompt of the first ones.

    The remarks name steps by their index.
    """

    turns: list[Turn]
    num_prompt: int
    remarks: list[tuple[int, str]]


def segments_of(entries: Iterable[Entry], num_prompt: int = 0) -> Iterator[Segment]:
    """The segments of a stream, those without a step left out.

    Args:
        num_prompt: of the first segment, in entries.
    """
    view: list[Entry] = []
    start = num_prompt
    for entry in entries:
        if entry.condensation is None:
            if entry.is_placed:
                view.append(entry)
            continue
        if segment := _segment(view, start, is_condensed=start != num_prompt):
            yield segment
        view = _condensed(view, entry)
        start = len(view)
    if segment := _segment(view, start, is_condensed=start != num_prompt):
        yield segment


def event_id(value: Any) -> EventId | None:
    """The id of an event where it has one."""
    return value if type(value) in (str, int) else None


def _condensed(view: Sequence[Entry], entry: Entry) -> list[Entry]:
    change = entry.condensation
    assert change is not None
    kept = [
        each
        for each in view
        if not change.forgets(each.id) and not (each.is_summary and change.replaces_summary)
    ]
    if change.summary and change.offset is not None:
        name = None if entry.id is None else f"{entry.id}-summary"
        message = Message(role="user", content=change.summary)
        kept.insert(change.offset, Entry(id=name, message=message, is_summary=True))
    return kept


def _segment(view: Sequence[Entry], start: int, is_condensed: bool) -> Segment | None:
    prompt, _ = _turns(view[:start])
    prompt = _matched(prompt) if is_condensed else prompt
    own, remarks = _turns(view[start:])
    if not any(turn.message.role == "assistant" for turn in own):
        return None
    return Segment(prompt + own, len(prompt), remarks)


def _turns(entries: Iterable[Entry]) -> tuple[list[Turn], list[tuple[int, str]]]:
    """The turns, a generation in one, and the remarks on its steps."""
    messages: list[Message] = []
    places: dict[str, int] = {}
    remarks: dict[tuple[int, str], None] = {}
    num_steps = 0
    for entry in entries:
        message = entry.message
        if message is not None and entry.generation in places:
            place = places[entry.generation or ""]
            messages[place] = _joined(messages[place], message)
        elif message is not None:
            if message.role != "tool":
                # An id that comes again later names another answer.
                places = {}
            if entry.generation is not None:
                places[entry.generation] = len(messages)
            messages.append(message)
            num_steps += message.role == "assistant"
        if entry.remark:
            remarks[num_steps - 1, entry.remark] = None
    return [Turn(message) for message in messages], list(remarks)


def _joined(first: Message, second: Message) -> Message:
    """One answer of two events: the calls of both, and what only one of them says."""
    known = {call.id for call in first.tool_calls if call.id is not None}
    calls = tuple(call for call in second.tool_calls if call.id is None or call.id not in known)
    if second.content and second.content not in first.content:
        content = f"{first.content}\n{second.content}" if first.content else second.content
    else:
        content = first.content
    update = {
        "content": content,
        "reasoning": first.reasoning or second.reasoning,
        "tool_calls": (*first.tool_calls, *calls),
    }
    return first.model_copy(update=update)


def _matched(turns: Sequence[Turn]) -> list[Turn]:
    """The turns of a condensed view, without calls and results whose other half was forgotten."""
    called = {call.id for turn in turns for call in turn.message.tool_calls if call.id}
    answered = {turn.message.tool_call_id for turn in turns if turn.message.role == "tool"}
    kept: list[Turn] = []
    for turn in turns:
        message = turn.message
        if message.role == "tool" and message.tool_call_id and message.tool_call_id not in called:
            continue
        if any(call.id and call.id not in answered for call in message.tool_calls):
            calls = tuple(c for c in message.tool_calls if not c.id or c.id in answered)
            if not (calls or message.content):
                continue
            message = message.model_copy(update={"tool_calls": calls})
        kept.append(turn._replace(message=message))
    return kept
