"""The types of items in OpenAI's Responses API, by what they are in a conversation.

`SERVED` types are calls that the service itself executes; their results, where they are recorded,
stand within the item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class CallType(NamedTuple):
    """A type of call.

    Attributes:
        name: of the tool, where the item has none.
        given: keys of which the first existing one holds the arguments.
        is_whole: the value of that key is the arguments; else it is one argument of its name.
        results: keys within the item that hold results.
    """

    name: str | None
    given: tuple[str, ...]
    is_whole: bool = True
    results: tuple[str, ...] = ()


CALLS: dict[str, CallType] = {
    "function_call": CallType(None, ("arguments",)),
    "custom_tool_call": CallType(None, ("input",), is_whole=False),
    "local_shell_call": CallType("local_shell", ("action",)),
    "shell_call": CallType("shell", ("action",)),
    "apply_patch_call": CallType("apply_patch", ("operation",), is_whole=False),
    "computer_call": CallType("computer", ("action", "actions"), is_whole=False),
    "tool_search_call": CallType("tool_search", ("arguments",)),
    "program": CallType("program", ("code",), is_whole=False),
}
SERVED: dict[str, CallType] = {
    "web_search_call": CallType("web_search", ("action",)),
    "file_search_call": CallType("file_search", ("queries",), False, ("results",)),
    "code_interpreter_call": CallType("code_interpreter", ("code",), False, ("outputs",)),
    "image_generation_call": CallType("image_generation", ("revised_prompt",), False),
    "mcp_call": CallType(None, ("arguments",), True, ("output", "error")),
}
# Types of results, and the keys under which they stand.
RESULTS: dict[str, tuple[str, ...]] = {
    "function_call_output": ("output",),
    "custom_tool_call_output": ("output",),
    "local_shell_call_output": ("output",),
    "shell_call_output": ("output",),
    "apply_patch_call_output": ("output",),
    "computer_call_output": ("output",),
    "mcp_tool_call_output": ("result", "output"),
    "tool_search_output": ("tools",),
    "program_output": ("result",),
}
COMPACTIONS = ("compaction", "compaction_summary", "context_compaction")
# Items that no model reads or writes.
SILENT = ("ghost_snapshot", "mcp_approval_request", "mcp_approval_response", "compaction_trigger")
# Types that only this API has: a list with one of them is a list of items.
ITEM_TYPES = frozenset((*CALLS, *SERVED, *RESULTS, *COMPACTIONS)) - {"program"}

# What stands in items although no model saw or wrote it, at any place.
ITEM_METADATA = (
    "*.internal_chat_message_metadata_passthrough",
    "*.phase",
    "*.namespace",
    "*.server_label",
    "*.execution",
    "*.ghost_commit",
    "*.fingerprint",
    "*.caller",
    "*.author",
    "*.recipient",
    "*.call_id",
    "*.pending_safety_checks",
    "*.acknowledged_safety_checks",
    "*.container_id",
    "*.generation_token_ids",
    "*.generation_log_probs",
    "*.routed_experts",
    "*.incomplete_details",
    "*.detail",
    "*.summary.text",
)


def is_item(value: Any) -> bool:
    """Whether a value is an item that is not a plain message."""
    if not isinstance(value, Mapping) or value.get("role") is not None:
        return False
    kind = value.get("type")
    if kind == "reasoning":
        return "summary" in value or "encrypted_content" in value
    return isinstance(kind, str) and kind in ITEM_TYPES


def is_item_message(value: Any) -> bool:
    """Whether a value is a message as items have them, which differ from those of chats."""
    if not isinstance(value, Mapping) or value.get("type") != "message":
        return False
    content = value.get("content")
    first = content[0] if isinstance(content, list) and content else None
    kind = first.get("type") if isinstance(first, Mapping) else None
    is_part = kind in ("input_text", "output_text", "input_image")
    return is_part and isinstance(value.get("role"), str)


def holds_items(messages: Any) -> bool:
    """Whether a list is a conversation in items, not in messages of a chat."""
    if not isinstance(messages, list) or not messages:
        return False
    return any(map(is_item, messages)) or all(map(is_item_message, messages))
