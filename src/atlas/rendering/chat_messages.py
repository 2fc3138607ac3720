"""Messages as chat templates take them: plain dicts, system text folded into user turns where there is no system role."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from atlas.records import Message

THINK, END_OF_THINKING = "<think>", "</think>"


def to_chat_dict(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it: optional fields absent rather than None, arguments as an object."""
    chat: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        chat["reasoning_content"] = message.reasoning
    if message.tool_calls:
        chat["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        chat["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        chat["name"] = message.name
    return chat


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """The same conversation without system turns: their text stands, after a blank line each, before the next user turn's.

    A system turn that no user turn follows becomes one. No text is lost and none changes its place among the answers.
    """
    folded: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif waiting and message.role == "user":
            folded.append(
                message.model_copy(update={"content": "\n\n".join([*waiting, message.content])})
            )
            waiting = []
        else:
            if waiting:
                folded.append(Message(role="user", content="\n\n".join(waiting)))
                waiting = []
            folded.append(message)
    return [*folded, Message(role="user", content="\n\n".join(waiting))] if waiting else folded


def thinking_before(message: Message, written: str) -> str:
    """What stands between an opened `<think>` and `written`, the response as a template writes it without its thinking.

    The thinking comes from a field of its own, or from the content where the model wrote it there (with the opening tag or,
    where the prompt opened it, without). A response without any closes the block at once.
    """
    if END_OF_THINKING in written:
        return ""
    if message.reasoning is None and END_OF_THINKING in message.content:
        head, tag, _ = message.content.rpartition(END_OF_THINKING)
        return head.lstrip().removeprefix(THINK).removeprefix("\n") + tag
    return (message.reasoning or "").strip("\n") + f"\n{END_OF_THINKING}\n\n"


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # a model wrote broken JSON: show it as it was
