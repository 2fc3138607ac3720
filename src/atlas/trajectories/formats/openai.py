"""Chats in OpenAI's messages: `{"messages": […]}`, `{"conversations": […]}`, or a bare list.

Every assistant message is a step, even if it calls several tools. The messages between two
assistant messages are the observation of the second one. The prompt consists of the system
messages, and of instructions that are followed by a canned acknowledgement. In a row with `prompt`
and `completion`, the steps of the completion are annotated as trained. `success` and `reward` of
the row become the outcome, and `tools` (or `functions`) become the tools. Other plain fields go to
`source.details`.
"""

from __future__ import annotations

from typing import Any

from atlas.records import Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.chats import CHAT_KEYS, ChatForm, chat_trajectory, read_chat
from atlas.trajectories.formats.conventions import is_mini_swe_agent, is_simulation
from atlas.trajectories.formats.conversations import with_default_flags
from atlas.trajectories.formats.langchain import is_langchain
from atlas.trajectories.formats.messages import ROLE_AND_CONTENT, decode_nested, read_turns
from atlas.trajectories.formats.rows import BadRowError, SourceRow
from atlas.trajectories.trajectory_lines import TrajectoryLine

MESSAGE_KEYS = ("messages", "conversations", "conversation")
PARTS_KEYS = ("prompt", "completion")
FORM = ChatForm("openai", ROLE_AND_CONTENT, CHAT_KEYS.union(MESSAGE_KEYS, PARTS_KEYS))


class OpenAIFormat(RowFormat):
    """Reads chats in OpenAI's messages, JSON or JSON Lines."""

    def matches(self, row: Any) -> bool:
        messages = _messages_of(row)
        is_chat = bool(messages) and isinstance(messages[0], dict) and "role" in messages[0]
        is_other = is_simulation(row) or is_mini_swe_agent(row) or is_langchain(row)
        return is_chat and not is_other

    def convert(self, row: SourceRow) -> Trajectory | TrajectoryLine:
        messages = _messages_of(row.value)
        if not messages:
            raise BadRowError(
                "no messages, expected a list of them, bare or under 'messages' or 'conversations'"
            )
        if isinstance(row.value, dict) and row.value.keys().isdisjoint(MESSAGE_KEYS):
            num_prompt = len(read_turns(decode_nested(row.value["prompt"])))
            turns = read_turns(messages)
            marked = [
                *with_default_flags(turns[:num_prompt], False),
                *with_default_flags(turns[num_prompt:], True),
            ]
            return chat_trajectory(row, marked, FORM)
        return read_chat(row, messages, FORM)


def _messages_of(row: Any) -> list[Any]:
    """The messages of a row under any known key, also if stored as JSON text."""
    if not isinstance(row, dict):
        return row if isinstance(row, list) else []
    for key in MESSAGE_KEYS:
        if key in row:
            messages = decode_nested(row[key])
            return messages if isinstance(messages, list) else []
    prompt, completion = (decode_nested(row.get(key)) for key in PARTS_KEYS)
    is_whole = isinstance(prompt, list) and isinstance(completion, list)
    return [*prompt, *completion] if is_whole else []
