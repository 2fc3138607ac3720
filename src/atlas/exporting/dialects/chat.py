"""Messages as OpenAI-like objects and back: what most dialects share, each adding its flag."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.exporting.dialects.base import DialectSettings, SupervisedChat
from atlas.records import Message, Selection, Trajectory
from atlas.rendering.openai_messages import read_openai_message
from atlas.rendering.renderer import Renderer


class ChatDialect:
    """Base of the dialects whose rows hold whole messages: no settings, JSON Lines, one row a trajectory."""

    notes = ""
    stanza = ""
    suffixes: tuple[Any, ...] = (".jsonl",)
    one_row_per_step = False
    stops_at_last_step = False

    def __init__(self, settings: DialectSettings, renderer: Renderer | None) -> None:
        pass

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        return ()


def flagged_messages(
    trajectory: Trajectory, selection: Selection
) -> Iterator[tuple[Message, bool]]:
    """Every message of the conversation, and whether it is the response of a critical step."""
    for message, step in trajectory.owned_messages():
        yield message, step in selection.indices


def until_last_step(trajectory: Trajectory, selection: Selection) -> Iterator[tuple[Message, bool]]:
    """The same up to the last critical step: what follows carries no loss and changes nothing before it."""
    last = max(selection.indices)
    for message, step in trajectory.owned_messages():
        yield message, step in selection.indices
        if step == last:
            return


def read_flagged(
    messages: Sequence[Mapping[str, Any]], key: str, *, default: bool
) -> SupervisedChat:
    """Messages with a flag on each; `default` is what the trainer does with an assistant message that has none."""
    flags = []
    for chat in messages:
        flag = chat.get(key)
        if flag is not None and flag not in (0, 1):
            raise ValueError(f"{key} is {flag!r:.40}, expected 0, 1, true or false")
        flags.append(chat["role"] == "assistant" and (default if flag is None else bool(flag)))
    return SupervisedChat(tuple(read_openai_message(chat) for chat in messages), tuple(flags))


def with_thinking(message: Message) -> str:
    """Content with the reasoning before it in <think> tags, for formats that have no field for it."""
    return (
        message.content
        if message.reasoning is None
        else f"<think>\n{message.reasoning}\n</think>\n\n{message.content}"
    )


THINKING_LOSS = "reasoning of its own field was written into the content, in <think> tags"


def thinking_losses(trajectory: Trajectory) -> tuple[str, ...]:
    return (
        (THINKING_LOSS,)
        if any(message.reasoning is not None for message in trajectory.messages)
        else ()
    )


def tools_field(trajectory: Trajectory) -> dict[str, Any]:
    """`tools` where the trajectory has any: an absent key, not an empty list, says that there are none."""
    return {"tools": list(trajectory.tools)} if trajectory.tools else {}


def tools_text(trajectory: Trajectory) -> str:
    return json.dumps(trajectory.tools, ensure_ascii=False) if trajectory.tools else ""
