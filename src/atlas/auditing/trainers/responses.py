"""Texts of responses as trainers with templates of their own write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.auditing.pieces import Text
from atlas.auditing.rows import REASONING_KEYS, holds_any
from atlas.auditing.supervision import ASSISTANT, CALLS, REASONING, WORDS, Unwritten, code_of

_OPENING, _CLOSING = "<think>", "</think>"


def response_texts(content: str, index: int) -> list[Text]:
    """The words of a response, with its thinking apart."""
    thinking, closing, answer = content.rpartition("</think>")
    if not closing:
        return [Text(content, index, code_of(ASSISTANT, WORDS))]
    words = answer.lstrip()
    space = answer[: len(answer) - len(words)]
    return [
        Text(thinking + closing + space, index, code_of(ASSISTANT, REASONING)),
        Text(words, index, code_of(ASSISTANT, WORDS)),
    ]


def unread_parts(message: Mapping[str, Any], index: int) -> list[Unwritten]:
    """What stands beside the content of a message in fields that these trainers do not read."""
    lost = [Unwritten(index, REASONING)] if holds_any(message, REASONING_KEYS) else []
    return [*lost, Unwritten(index, CALLS)] if message.get("function_call") else lost


def cut_thinking(content: str) -> str:
    """A response without its thinking, as in a history; what is not closed stays."""
    kept, place = [], 0
    # Not a regular expression: one looks for the end again from every beginning.
    while (start := content.find(_OPENING, place)) >= 0:
        if (end := content.find(_CLOSING, start)) < 0:
            break
        kept.append(content[place:start])
        place = end + len(_CLOSING)
    return "".join((*kept, content[place:])).lstrip("\n")


def write_calls(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls in the form of Hermes and Qwen."""
    texts = [
        json.dumps({"name": call["name"], "arguments": call["arguments"]}, ensure_ascii=False)
        for call in calls
    ]
    return "\n".join(f"<tool_call>\n{text}\n</tool_call>" for text in texts)
