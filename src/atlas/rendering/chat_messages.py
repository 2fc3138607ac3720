"""Converts messages for chat templates, including templates without system messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from atlas.records import Message, ToolCall
from atlas.rendering.openai_messages import decode_arguments, write_openai_message

THINK, END_OF_THINKING = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class CallForm:
    """The form in which a template takes calls.

    Attributes:
        text_arguments: whether arguments are JSON text (DeepSeek-V3), not an object.
        omits_content: whether a message without words has no `content`, not an empty one.
        short_ids: whether ids are cut to nine letters and digits (Mistral refuses others).
    """

    text_arguments: bool = False
    omits_content: bool = False
    short_ids: bool = False


def write_chat_message(message: Message, form: CallForm = CallForm()) -> dict[str, Any]:
    """A message for a chat template: OpenAI's form, but call arguments are an object."""
    chat = write_openai_message(message)
    if message.tool_calls:
        # Templates print these objects, so the key order matters.
        chat["tool_calls"] = [
            {
                "type": "function",
                "id": _short_id(call.id) if form.short_ids else call.id,
                "function": {
                    "name": call.name,
                    "arguments": call.arguments
                    if form.text_arguments
                    else decode_arguments(call.arguments),
                },
            }
            for call in message.tool_calls
        ]
        if form.omits_content and not message.content:
            del chat["content"]
    if form.short_ids and message.tool_call_id is not None:
        chat["tool_call_id"] = _short_id(message.tool_call_id)
    return chat


def choose_call_form(render: Callable[[Sequence[Message], CallForm], str]) -> CallForm:
    """The first form in which a template writes a call with its name and arguments.

    Args:
        render: renders a conversation; it may raise any error.
    """
    question = Message(role="user", content="Which?")
    call = ToolCall(id="call_Xyzzy_12", name="xyzzy", arguments='{"plugh": "Frotz"}')
    answer = Message(role="assistant", tool_calls=(call,))
    result = Message(role="tool", content="This.", tool_call_id=call.id, name=call.name)
    for chat in ([question, answer, result], [question, answer]):
        for short, omits, text in product((False, True), repeat=3):
            form = CallForm(text_arguments=text, omits_content=omits, short_ids=short)
            try:
                written = render(chat, form)
            except Exception:
                # Templates raise jinja errors, TypeError, ValueError and more.
                continue
            # Python writes an object with its own quotes, and text inside text with escapes.
            is_foreign = "'plugh'" in written or r"\"plugh" in written
            if all(word in written for word in ("xyzzy", "plugh", "Frotz")) and not is_foreign:
                return form
    return CallForm()


def _short_id(name: str | None) -> str:
    """Nine letters or digits for an id: the last nine of it, filled up with zeros."""
    return "".join(letter for letter in name or "" if letter.isalnum())[-9:].rjust(9, "0")


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


def has_thinking_inside(message: Message) -> bool:
    """Whether a response has its thinking in its text."""
    is_inside = END_OF_THINKING in message.content and message.reasoning is None
    return message.role == "assistant" and is_inside


def take_thinking_apart(message: Message) -> Message:
    """The message with thinking in its field; `<think>` may be missing from its text."""
    if not has_thinking_inside(message):
        return message
    head, _, answer = message.content.rpartition(END_OF_THINKING)
    reasoning = head.lstrip().removeprefix(THINK).strip("\n")
    # The blank line is the one that `thinking_before` writes.
    content = answer.removeprefix("\n\n")
    return message.model_copy(update={"reasoning": reasoning, "content": content})


def thinking_before(message: Message, written: str) -> str:
    """The thinking to insert before `written`, the response without it, after an open `<think>`.

    Without thinking, the block is closed at once.
    """
    if END_OF_THINKING in written:
        return ""
    thinking = take_thinking_apart(message).reasoning or ""
    return thinking.strip("\n") + f"\n{END_OF_THINKING}\n\n"
