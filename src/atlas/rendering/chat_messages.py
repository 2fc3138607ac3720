"""Messages in the form of chat templates, and what templates without system turns need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.records import Message
from atlas.rendering.openai_messages import decode_arguments, write_openai_message

THINK, END_OF_THINKING = "<think>", "</think>"


def write_chat_message(message: Message) -> dict[str, Any]:
    """A message as chat templates expect it: OpenAI's form, but the arguments are an object."""
    chat = write_openai_message(message)
    if message.tool_calls:
        # Templates print these objects, so the order of the keys matters.
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

    Their text is written before the text of the next user turn, with a blank line after each. A
    system turn that no user turn follows becomes one. No text is lost or moved past an answer.
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
    """The thinking between an opened `<think>` and `written`, the response without its thinking.

    It comes from the field `reasoning`, or from the content if the model wrote it there, with or
    without the opening tag. If there is none, the block is closed at once.
    """
    if END_OF_THINKING in written:
        return ""
    if message.reasoning is None and END_OF_THINKING in message.content:
        head, tag, _ = message.content.rpartition(END_OF_THINKING)
        return head.lstrip().removeprefix(THINK).removeprefix("\n") + tag
    return (message.reasoning or "").strip("\n") + f"\n{END_OF_THINKING}\n\n"
