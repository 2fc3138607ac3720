"""Reasoning beside the text of an answer, in every spelling: `message -> text and remarks`.

It is a text, an object with a text, or a list of them. What only the service can read (redacted,
encrypted) is left out with a remark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.calls import has_content
from atlas.trajectories.formats.rows import BadRowError

REASONING_KEYS = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "thinking_content",
    "reasoning_details",
    "reasoningContent",
    "reasoningText",
    "thinking_blocks",
    "thought",
    "thoughts",
)
# Where the text stands in an object.
TEXT_KEYS = (
    "thinking",
    "text",
    "content",
    "reasoning",
    "reasoningText",
    "reasoning_content",
    "thought",
    "value",
    "summary",
)
# What only the service can read.
HIDDEN_KEYS = ("data", "encrypted_content", "redactedContent", "encrypted")
PLAIN_KEYS = ("type", "id", "signature", "thoughtSignature", "format", "status")
HIDDEN = "reasoning that only the service can read is left out"


def read_reasoning(message: Mapping[str, Any], said: str, index: int) -> tuple[str | None, bool]:
    """The reasoning of a message, and whether some of it is hidden.

    The first field with a text counts. A `thought` that stands in the text is not read again: some
    agents write it there.

    Args:
        said: the text of the message.

    Raises:
        BadRowError: the field is something else than reasoning.
    """
    text: str | None = None
    is_hidden = False
    for key in REASONING_KEYS:
        value = message.get(key)
        # A flag says that there was thinking, not what.
        if value is None or isinstance(value, bool):
            continue
        found, hides = reasoning_text(value, key, index)
        if found and key in ("thought", "thoughts") and found.strip() in said:
            continue
        is_hidden = is_hidden or hides
        if found or isinstance(value, str):
            text = text or found
    return text, is_hidden


def reasoning_text(value: Any, what: str, index: int) -> tuple[str, bool]:
    """The text in a value of reasoning, and whether a part of it is hidden."""
    if value is None or isinstance(value, str):
        return value or "", False
    if isinstance(value, list):
        parts = [reasoning_text(each, what, index) for each in value]
        return "".join(text for text, _ in parts), any(hides for _, hides in parts)
    if not isinstance(value, dict):
        raise BadRowError(f"{what} is {value!r:.60}, expected a text", index)
    for key in TEXT_KEYS:
        if has_content(value.get(key)):
            return reasoning_text(value[key], what, index)
    if any(has_content(value.get(key)) for key in HIDDEN_KEYS):
        return "", True
    if unknown := [
        str(key)
        for key, other in value.items()
        if isinstance(other, str | list | dict) and has_content(other) and key not in PLAIN_KEYS
    ]:
        raise BadRowError(
            f"{what} has no text, but {', '.join(unknown)[:80]!r}; "
            f"expected it under one of {', '.join(TEXT_KEYS)}",
            index,
        )
    return "", False
