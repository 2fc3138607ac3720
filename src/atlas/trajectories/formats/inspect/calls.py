"""Model calls of a sample of Inspect -> conversations as the agent had them.

The messages of a sample are one conversation if each answer was given to the messages before it.
After a compaction, or where a solver edits the history, a model call has another context. Then the
calls are read instead. Calls whose answer is not in the messages (of scorers, sub-agents, discarded
attempts) are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rollouts import History, histories_of

EDITED_ANSWER = "edited after the model wrote it, the model's own answer is carried over"
Read = Callable[[Sequence[Any]], list[Turn]]


@dataclass(frozen=True, slots=True)
class SampleCalls:
    """The conversations of model calls, empty where the messages are one; calls left out."""

    histories: list[History]
    num_left_out: int


def calls_of_sample(messages: Sequence[Any], events: Sequence[Any], read: Read) -> SampleCalls:
    """The model calls in `events`, compared with the messages.

    Args:
        messages: with the model's own answers.
        read: the turns of messages.
    """
    answers = {_key(message) for message in messages if message.role == "assistant"}
    own: list[tuple[Sequence[Any], Any]] = []
    num_left_out = 0
    for context, answer in _answered(events):
        if _key(answer) in answers:
            own.append((context, answer))
        else:
            num_left_out += 1
    if not _is_edited(messages, own):
        return SampleCalls([], num_left_out)
    return SampleCalls(
        histories_of((read(context), read([answer])) for context, answer in own), num_left_out
    )


def own_answers(messages: Sequence[Any], events: Sequence[Any]) -> tuple[list[Any], set[int]]:
    """The messages, answers as the model wrote them, and the places of those edited later.

    An agent may take the call that submits its answer out of the messages, for example.
    """
    written = {answer.id: answer for _, answer in _answered(events) if answer.id}
    own = [
        written.get(message.id, message) if message.role == "assistant" else message
        for message in messages
    ]
    edited = {
        place
        for place, (message, answer) in enumerate(zip(messages, own, strict=True))
        if answer is not message and _key(answer) != _key(message)
    }
    return own, edited


def _answered(events: Sequence[Any]) -> Iterator[tuple[Sequence[Any], Any]]:
    """The context and the answer of each model call that has one."""
    for event in events:
        if event.event == "model" and event.output.choices and not event.error:
            yield event.input, event.output.choices[0].message


def _is_edited(messages: Sequence[Any], calls: Sequence[tuple[Sequence[Any], Any]]) -> bool:
    """Whether an answer was given to other messages than those before it.

    Providers join neighbors of one role, so only the texts are compared, not where they are cut.
    """
    texts = [_text(message) for message in messages]
    places: dict[tuple[str, ...], list[int]] = {}
    for place, message in enumerate(messages):
        if message.role == "assistant":
            places.setdefault(_key(message), []).append(place)
    used: dict[tuple[str, ...], int] = {}
    for context, answer in calls:
        key = _key(answer)
        number = used.get(key, 0)
        used[key] = number + 1
        # The same answer may be given twice, and a call may be repeated from a cache.
        place = places[key][min(number, len(places[key]) - 1)]
        seen = "".join(map(_text, context))
        before = "".join(texts[:place])
        if seen != before and not before.startswith(seen):
            return True
    return False


def _key(message: Any) -> tuple[str, ...]:
    return _text(message), *(call.function for call in message.tool_calls or [])


def _text(message: Any) -> str:
    """The text of a message without spaces; the error of a tool is what the model reads."""
    error = getattr(message, "error", None)
    return "".join((error.message if error else message.text).split())
