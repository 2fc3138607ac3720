"""The fields of a row beside its messages: `row -> task, tools, outcome and details`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from atlas.trajectories.formats.answers import ANSWER_KEYS, REJECTED_KEYS
from atlas.trajectories.formats.calls import decode_nested, has_content
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    outcome_of_row,
    task_of_row,
)
from atlas.trajectories.formats.conversations import OUTCOME_KEYS, read_tools
from atlas.trajectories.formats.messages import MESSAGE_METADATA
from atlas.trajectories.formats.part_kinds import kind_of
from atlas.trajectories.formats.rows import SourceRow
from atlas.trajectories.formats.training_flags import METADATA as FLAGS

TOOLS_KEYS = (
    "tools",
    "functions",
    "available_tools",
    "tool_defs",
    "tool_schemas",
    "tool_definitions",
    "function_definitions",
    "tools_json",
    "tool_list",
    "function_schemas",
    "toolConfig",
)
SYSTEM_KEYS = (
    "system",
    "system_prompt",
    "system_message",
    "systemPrompt",
    "system_instruction",
    "systemInstruction",
)
# The fields of a row that any chat may have.
CHAT_KEYS = frozenset((*SYSTEM_KEYS, *TOOLS_KEYS, *OUTCOME_KEYS, *ID_KEYS))
CHAT_METADATA = (
    # They become the task.
    *(*ID_KEYS, "task_name", "environment"),
    *FLAGS,
    *MESSAGE_METADATA,
    *REJECTED_KEYS,
    "*.metadata.userVisible",
    "*.agentVisible",
)
# Fields beside the messages that may be a part of the chat.
PARTS = frozenset((*ANSWER_KEYS, *REJECTED_KEYS, *TOOLS_KEYS))
PARTS_OR_SYSTEM = PARTS.union(SYSTEM_KEYS)


_MESSAGE = frozenset(("role", "content"))


@dataclass(frozen=True, slots=True)
class ChatForm:
    """The keys of chats in a format.

    Attributes:
        name: of the format.
        keys: the keys for role and content of a message.
        used: fields of the row that become a part of the trajectory.
        metadata: paths of the format that are metadata.
    """

    name: str
    keys: tuple[str, str]
    used: frozenset[str]
    metadata: tuple[str, ...] = ()


def system_of(fields: Mapping[str, Any]) -> Any:
    """The system prompt in a field of the row."""
    given = next((fields[key] for key in SYSTEM_KEYS if has_content(fields.get(key))), None)
    if isinstance(given, list):
        contents = (
            block["content"] if isinstance(block, dict) and block.keys() == _MESSAGE else block
            for block in given
        )
        return [*chain.from_iterable(x if isinstance(x, list) else [x] for x in contents)]
    blocks = decode_nested(given)
    is_blocks = isinstance(blocks, list) and all(kind_of(block) == "text" for block in blocks)
    return blocks if is_blocks and blocks else given


def fields_of_row(row: SourceRow, form: ChatForm, more_used: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a trajectory that do not come from messages."""
    fields = row.value if isinstance(row.value, dict) else {}
    digest = row.content_hash
    task = task_of_row(fields, otherwise=f"chat-{digest}")
    tools_key = next((key for key in TOOLS_KEYS if has_content(fields.get(key))), None)
    tools = read_tools(fields[tools_key]) if tools_key else ()
    used = form.used if tools is not None else form.used - {*TOOLS_KEYS}
    details = details_of_row(fields, used.union(more_used))
    return {
        "id": task.id if task.id == f"chat-{digest}" else f"{task.id}-{digest}",
        "task": task,
        "tools": tools or (),
        "outcome": outcome_of_row(fields),
        "source": row.source(form.name, details),
    }
