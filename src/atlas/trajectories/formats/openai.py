"""Chats in OpenAI's messages: `{"messages": […]}`, `{"conversations": […]}`, or a bare list.

Every assistant message is a step, even if it calls several tools. The messages between two
assistant messages are the observation of the second one. The prompt consists of the system
messages, and of instructions that are followed by a canned acknowledgement. An answer beside the
messages is the last step (`answers`). In a row with `prompt` and `completion` or `chosen`, the
steps of the answer are annotated as trained. `success` and `reward` of
the row become the outcome, and `tools` (or `functions`) become the tools. Other plain fields go to
`source.details`.
"""

from __future__ import annotations

from typing import Any

from atlas.records import Trajectory
from atlas.trajectories.formats.answers import ANSWER_KEYS
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.calls import decode_nested, has_content
from atlas.trajectories.formats.chats import (
    CHAT_KEYS,
    CHAT_METADATA,
    ChatForm,
    chat_trajectory,
    read_chat,
)
from atlas.trajectories.formats.conversations import with_default_flags
from atlas.trajectories.formats.messages import ROLE_AND_CONTENT, read_turns
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow
from atlas.trajectories.formats.training_flags import TOKENS_ONLY, is_token_row
from atlas.trajectories.trajectory_lines import TrajectoryLine

MESSAGE_KEYS = ("messages", "conversations", "conversation")
# What the model was given; its answer stands beside it.
PROMPT_KEY = "prompt"
# A whole conversation if the row has no prompt.
CHOSEN_KEYS = ("chosen", "chosen_messages")
FORM = ChatForm(
    "openai", ROLE_AND_CONTENT, CHAT_KEYS.union(MESSAGE_KEYS, (PROMPT_KEY,)), CHAT_METADATA
)


class OpenAIFormat(RowFormat):
    """Reads chats in OpenAI's messages, JSON or JSON Lines."""

    metadata = FORM.metadata
    # Some tables hold the messages again, as a template writes them.
    parsed = (PROMPT_KEY, "output")

    def matches(self, row: Any) -> bool:
        messages = _messages_of(row)
        return bool(messages) and isinstance(messages[0], dict) and "role" in messages[0]

    def convert(self, row: SourceRow) -> Trajectory | TrajectoryLine | Reading:
        messages = _messages_of(row.value)
        if not messages and is_token_row(row.value):
            raise BadRowError(TOKENS_ONLY)
        if not messages:
            raise BadRowError(
                "no messages, expected a list of them, bare or under 'messages' or 'conversations'"
            )
        if isinstance(row.value, dict) and not any(
            has_content(row.value.get(key)) for key in MESSAGE_KEYS
        ):
            turns = read_turns(messages)
            is_prompt = isinstance(decode_nested(row.value.get(PROMPT_KEY)), list)
            if is_prompt:
                turns = with_default_flags(turns, False)
            return chat_trajectory(row, turns, FORM, is_prompt=is_prompt)
        return read_chat(row, messages, FORM)


def _messages_of(row: Any) -> list[Any]:
    """The messages of a row under any known key, also if stored as JSON text."""
    if not isinstance(row, dict):
        return row if isinstance(row, list) else []
    # In tables that were put together, the columns of the others are empty.
    if given := next((row[key] for key in MESSAGE_KEYS if has_content(row.get(key))), None):
        messages = decode_nested(given)
        return messages if isinstance(messages, list) else []
    prompt = decode_nested(row.get(PROMPT_KEY))
    if isinstance(prompt, list) and any(has_content(row.get(key)) for key in ANSWER_KEYS):
        return prompt
    chosen: list[Any] = next(
        (row[key] for key in CHOSEN_KEYS if isinstance(row.get(key), list)), []
    )
    # A prompt that is a text stands in the conversation too.
    return [] if isinstance(prompt, list) and prompt else [*chosen]
