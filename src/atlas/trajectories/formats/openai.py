"""Chats in OpenAI's messages: `{"messages": […]}`, `{"conversations": […]}` with role and content, or a bare list.

Every assistant message is a step, however many tools it calls; what stands between two of them is the later one's
observation. System messages open the prompt; so do the instructions before a canned acknowledgement. A row of `prompt`
and `completion` is trained on its completion, so that is what its annotations mark. `success` and `reward` of the row
become the outcome, `tools` (or `functions`) the tools, its other plain fields `source.details`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.conventions import is_mini_swe_agent, is_simulation
from atlas.trajectories.formats.conversations import chat_trajectory, with_default_flags
from atlas.trajectories.formats.messages import Turn, decode_nested, read_turns
from atlas.trajectories.formats.rows import BadRowError, Row, convert_rows

MESSAGE_KEYS = ("messages", "conversations", "conversation")
PARTS_KEYS = ("prompt", "completion")


class OpenAIFormat:
    """Reads chats in OpenAI's messages, JSON or JSON Lines."""

    def matches(self, row: Any) -> bool:
        messages = _messages_of(row)
        is_chat = bool(messages) and isinstance(messages[0], dict) and "role" in messages[0]
        return is_chat and not is_simulation(row) and not is_mini_swe_agent(row)

    def convert(self, row: Row, path: Path) -> Trajectory:
        return chat_trajectory(
            row, path.name, "openai", _turns(row.value), (*MESSAGE_KEYS, *PARTS_KEYS)
        )

    def read(self, path: Path) -> Iterator[Trajectory | Problem]:
        return convert_rows(path, lambda row: self.convert(row, path))


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
    """The messages of a row, wherever they stand and also as JSON text; none if there are none."""
    if isinstance(row, dict):
        key = next((key for key in MESSAGE_KEYS if key in row), None)
        lists = [decode_nested(row.get(key)) for key in (PARTS_KEYS if key is None else (key,))]
    else:
        lists = [row]
    return (
        [message for messages in lists for message in messages]
        if all(isinstance(each, list) for each in lists)
        else []
    )
