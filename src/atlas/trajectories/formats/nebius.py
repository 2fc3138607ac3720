"""Rows whose `trajectory` is a chat: the trajectories that nebius published, and their relatives.

Those of OpenHands are in OpenAI's form with `tools`. Those of SWE-agent have the roles system, user
and ai, with the words under `text` or `system_prompt`. The mask of a turn says whether the model
wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.records import Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.chats import CHAT_KEYS, ChatForm, read_chat
from atlas.trajectories.formats.messages import ROLE_AND_CONTENT, ROLES, decode_nested
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow
from atlas.trajectories.trajectory_lines import TrajectoryLine

ROLES_OF_NEBIUS = {"ai": "assistant"}
# What a message says, in the order in which it is looked for.
TEXTS = ("content", "text", "system_prompt")
# What the harness and the evaluation add.
METADATA = (
    *("model_patch", "generated_patch", "eval_logs", "repo", "target"),
    *("trajectory.mask", "trajectory.cutoff_date"),
)
FORM = ChatForm("nebius", ROLE_AND_CONTENT, CHAT_KEYS.union(("trajectory",)), METADATA)


class NebiusFormat(RowFormat):
    """Reads rows whose `trajectory` is a list of chat messages."""

    metadata = FORM.metadata

    def matches(self, row: Any) -> bool:
        messages = _messages_of(row)
        if not messages or not isinstance(messages[0], dict):
            return False
        role = messages[0].get("role")
        return isinstance(role, str) and (role in ROLES or role in ROLES_OF_NEBIUS)

    def convert(self, row: SourceRow) -> Trajectory | TrajectoryLine | Reading:
        messages = _messages_of(row.value)
        if not messages:
            raise BadRowError("no messages, expected a list of them under 'trajectory'")
        return read_chat(row, [_plain(message) for message in messages], FORM)


def _messages_of(row: Any) -> list[Any]:
    """The messages of a row, also if stored as JSON text."""
    if not isinstance(row, dict) or "messages" in row:
        return []
    messages = decode_nested(row.get("trajectory"))
    return messages if isinstance(messages, list) else []


def _plain(message: Any) -> Any:
    """A message in OpenAI's form; anything else as it is."""
    if not isinstance(message, dict):
        return message
    role = message.get("role")
    made = {key: value for key, value in message.items() if value is not None}
    if isinstance(role, str):
        made["role"] = ROLES_OF_NEBIUS.get(role, role)
    if "content" not in made and (text := _text_of(message)) is not None:
        made = {key: value for key, value in made.items() if key not in (*TEXTS, *_NOTES)}
        made["content"] = text
    return made


_NOTES = ("mask", "cutoff_date")


def _text_of(message: Mapping[str, Any]) -> str | None:
    return next((message[key] for key in TEXTS if isinstance(message.get(key), str)), None)
