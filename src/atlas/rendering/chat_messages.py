"""Converts messages for chat templates, including templates without system messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.records import Message
from atlas.rendering.openai_messages import decode_arguments, write_openai_message

THINK, END_OF_THINKING = "<think>", "</think>"


def write_chat_message(message: Message) -> dict[str, Any]:
    """A message for a chat template: OpenAI's form, but call arguments are an object."""
    chat = write_openai_message(message)
    if message.tool_calls:
        # Templates print these objects, so the key order matters.
        chat["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": decode_arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return chat


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """The same conversation without system turns.

    Their text is put before the text of the next user turn, followed by a blank line. A system turn
    without a later user turn becomes a user turn. No text is lost or moved past an answer.
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
    """The thinking to insert before `written`, the response without it, after an open `<think>`.

    It is taken from the field `reasoning`, or from the content, where it may lack the opening tag.
    Without thinking, the block is closed at once.
    """
    if END_OF_THINKING in written:
        return ""
    if message.reasoning is None and END_OF_THINKING in message.content:
        head, tag, _ = message.content.rpartition(END_OF_THINKING)
        return head.lstrip().removeprefix(THINK).removeprefix("\n") + tag
    return (message.reasoning or "").strip("\n") + f"\n{END_OF_THINKING}\n\n"
