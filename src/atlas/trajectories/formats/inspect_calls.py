"""Model calls of a sample of Inspect -> conversations as the agent had them.

The messages of a sample are one conversation if each answer was given to the messages before it.
After a compaction, or where a solver edits the history, a model call has another context. Then the
calls are read instead. Calls whose answer is not in the messages (of scorers, sub-agents, discarded
attempts) are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rollouts import History, histories_of

Read = Callable[[Sequence[Any]], list[Turn]]


@dataclass(frozen=True, slots=True)
class SampleCalls:
    """The conversations of model calls, empty where the messages are one; calls left out."""

    histories: list[History]
    num_left_out: int


def calls_of_sample(messages: Sequence[Any], events: Sequence[Any], read: Read) -> SampleCalls:
    """The model calls in `events`, compared with the messages.

    Args:
        read: the turns of messages.
    """
    answers = {_key(message) for message in messages if message.role == "assistant"}
    own: list[tuple[Sequence[Any], Any]] = []
    num_left_out = 0
    for event in events:
        if event.event != "model" or not event.output.choices or event.error:
            continue
        answer = event.output.choices[0].message
        if _key(answer) in answers:
            own.append((event.input, answer))
        else:
            num_left_out += 1
    if not _is_edited(messages, own):
        return SampleCalls([], num_left_out)
    return SampleCalls(
        histories_of((read(context), read([answer])) for context, answer in own), num_left_out
    )


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
