"""Turns of a conversation: a message with its flags, and which messages tell one generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from atlas.records import Message


class Turn(NamedTuple):
    """A message with the source's training flag, None where it has none.

    Attributes:
        is_call: it came in a spelling that holds only one call, or only calls, a message.
        remarks: what is known to be left out of it.
        is_cut: it reached the limit of tokens.
    """

    message: Message
    is_trained: float | None = None
    is_call: bool = False
    remarks: tuple[str, ...] = ()
    is_cut: bool = False


def join_generations(turns: Sequence[Turn]) -> list[Turn]:
    """The turns, with the messages of one generation as one turn.

    A model writes reasoning, then text, then calls, and waits for the results. So an assistant's
    message continues the one before it where it adds what comes later: a text or calls after
    nothing but reasoning, or nothing but calls after a text. Calls after calls are one turn if
    their spelling holds one call a message, or if the results of both follow. A text after a text,
    reasoning after reasoning, and anything after calls but calls are turns of their own.
    """
    joined: list[Turn] = []
    for index, turn in enumerate(turns):
        if (
            turn.message.role == "assistant"
            and joined
            and joined[-1].message.role == "assistant"
            and _continues(joined[-1], turn, turns, index)
        ):
            joined[-1] = _joined(joined[-1], turn)
        else:
            joined.append(turn)
    return joined


def _continues(before: Turn, turn: Turn, turns: Sequence[Turn], index: int) -> bool:
    first, second = before.message, turn.message
    if first.name != second.name and first.name is not None and second.name is not None:
        return False
    only_calls = bool(second.tool_calls) and not (second.content.strip() or second.reasoning)
    if not first.tool_calls:
        only_reasoning = bool(first.reasoning) and not first.content.strip()
        return only_calls or (only_reasoning and not second.reasoning)
    if not only_calls:
        return False
    if turn.is_call:
        return True
    answered = set()
    for following, *_ in turns[index + 1 :]:
        if following.role == "assistant":
            break
        answered.add(following.tool_call_id)
    ids = {call.id for message in (first, second) for call in message.tool_calls}
    return None not in ids and ids <= answered


def _joined(first: Turn, second: Turn) -> Turn:
    before, after = first.message, second.message
    message = before.model_copy(
        update={
            "content": before.content + after.content,
            "reasoning": before.reasoning or after.reasoning,
            "tool_calls": (*before.tool_calls, *after.tool_calls),
        }
    )
    return Turn(
        message,
        _joined_flag(first, second),
        is_call=first.is_call,
        remarks=(*first.remarks, *second.remarks),
        is_cut=first.is_cut or second.is_cut,
    )


def _joined_flag(first: Turn, second: Turn) -> float | None:
    """How much of two messages together is trained: the share of their characters."""
    flags = [turn.is_trained for turn in (first, second) if turn.is_trained is not None]
    if len(flags) < 2 or flags[0] == flags[1]:
        return flags[0] if flags else None
    lengths = [max(1, _length(turn.message)) for turn in (first, second)]
    return sum(flag * length for flag, length in zip(flags, lengths, strict=True)) / sum(lengths)


def _length(message: Message) -> int:
    calls = sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    return len(message.content) + len(message.reasoning or "") + calls
