"""Chats in OpenAI's messages: `{"messages": […]}`, `{"conversations": […]}`, or a bare list.

Every assistant message is a step, however many tools it calls. What stands between two of them is
the observation of the later one. System messages open the prompt, and so do instructions before a
canned acknowledgement. A row of `prompt` and `completion` is trained on its completion, so its
annotations mark that. `success` and `reward` of the row become the outcome, `tools` (or
`functions`) the tools, its other plain fields `source.details`.
"""

from __future__ import annotations

from typing import Any

from atlas.records import Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.conventions import is_mini_swe_agent, is_simulation
from atlas.trajectories.formats.conversations import (
    chat_parts,
    chat_trajectory,
    plain_parts,
    with_default_flags,
)
from atlas.trajectories.formats.messages import Turn, decode_nested, read_turns
from atlas.trajectories.formats.rows import BadRowError, SourceRow

MESSAGE_KEYS = ("messages", "conversations", "conversation")
PARTS_KEYS = ("prompt", "completion")


class OpenAIFormat(RowFormat):
    """Reads chats in OpenAI's messages, JSON or JSON Lines."""

    def matches(self, row: Any) -> bool:
        messages = _messages_of(row)
        is_chat = bool(messages) and isinstance(messages[0], dict) and "role" in messages[0]
        return is_chat and not is_simulation(row) and not is_mini_swe_agent(row)

    def convert(self, row: SourceRow) -> Trajectory:
        parts = _plain_parts(row.value) or chat_parts(row, _turns(row.value))
        return chat_trajectory(row, "openai", parts, (*MESSAGE_KEYS, *PARTS_KEYS))


def _plain_parts(value: Any) -> dict[str, Any] | None:
    """The parts of most chats, quickly; None for a chat that takes more reading."""
    if not isinstance(value, dict):
        return plain_parts(value) if isinstance(value, list) else None
    key = next((key for key in MESSAGE_KEYS if key in value), None)
    if key is None or "system" in value or not isinstance(value[key], list):
        return None
    return plain_parts(value[key])


def _turns(value: Any) -> list[Turn]:
    messages = _messages_of(value)
    if not messages:
        raise BadRowError(
            "no messages, expected a list of them, bare or under 'messages' or 'conversations'"
        )
    turns = read_turns(messages)
    if isinstance(value, dict) and not any(key in value for key in MESSAGE_KEYS):
        num_prompt = len(read_turns(decode_nested(value["prompt"])))
        return [
            *with_default_flags(turns[:num_prompt], False),
            *with_default_flags(turns[num_prompt:], True),
        ]
    return turns


def _messages_of(row: Any) -> list[Any]:
    """The messages of a row, under any of the keys and also as JSON text; empty if none."""
    if not isinstance(row, dict):
        return row if isinstance(row, list) else []
    for key in MESSAGE_KEYS:
        if key in row:
            messages = decode_nested(row[key])
            return messages if isinstance(messages, list) else []
    prompt, completion = (decode_nested(row.get(key)) for key in PARTS_KEYS)
    is_whole = isinstance(prompt, list) and isinstance(completion, list)
    return [*prompt, *completion] if is_whole else []
