"""Shared by dialects with messages: writes and reads messages with a flag for the loss."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from atlas.exporting.dialects.base import SupervisedChat
from atlas.records import Message, Selection, ToolCall, Trajectory
from atlas.rendering.openai_messages import (
    decode_arguments,
    encode_arguments,
    read_openai_message,
    write_openai_message,
)


def flagged_messages(
    trajectory: Trajectory, selection: Selection
) -> Iterator[tuple[Message, bool]]:
    """Every message of the conversation, and whether it is the response of a critical step."""
    for message, step in trajectory.owned_messages():
        yield message, step in selection.indices


def write_flagged(
    trajectory: Trajectory,
    selection: Selection,
    flag: str,
    form: Callable[[bool], bool | int] = bool,
    write: Callable[[Message], dict[str, Any]] = write_openai_message,
) -> list[dict[str, Any]]:
    """The messages as objects, each with `flag` beside its fields; `read_flagged` reads them."""
    return [
        {**write(message), flag: form(critical)}
        for message, critical in flagged_messages(trajectory, selection)
    ]


def read_flagged(
    messages: Sequence[Mapping[str, Any]], flag: str, *, default: bool, any_role: bool = False
) -> SupervisedChat:
    """Messages with a flag on each.

    Args:
        default: the trainer's default flag for assistant messages.
        any_role: whether the trainer also trains messages of other roles with a flag.
    """
    flags = []
    for chat in messages:
        value = chat.get(flag)
        if value is not None and value not in (0, 1):
            raise ValueError(f"{flag} is {value!r:.40}, expected 0, 1, true or false")
        is_assistant = chat["role"] == "assistant"
        flagged = is_assistant and default if value is None else bool(value)
        flags.append(flagged and (is_assistant or any_role))
    return supervised_chat(zip(map(read_openai_message, messages), flags, strict=True))


def read_listed(
    messages: Sequence[Mapping[str, Any]], flags: Sequence[Any], name: str
) -> SupervisedChat:
    """Messages of a row whose flags are in the separate list `name`."""
    if len(flags) != len(messages):
        raise ValueError(f"{name} has {len(flags)} entries for {len(messages)} messages")
    return supervised_chat(zip(map(read_openai_message, messages), flags, strict=True))


def supervised_chat(flagged: Iterable[tuple[Message, Any]]) -> SupervisedChat:
    """A conversation from its messages with their flags."""
    pairs = list(flagged)
    return SupervisedChat(
        tuple(message for message, _ in pairs), tuple(bool(flag) for _, flag in pairs)
    )


def supervise_last(messages: Sequence[Message]) -> SupervisedChat:
    """A conversation whose last turn carries the loss."""
    if messages[-1].role != "assistant":
        raise ValueError("the conversation does not end in an assistant turn")
    return SupervisedChat(tuple(messages), (*[False] * (len(messages) - 1), True))


def conversations_to_steps(
    trajectory: Trajectory, selection: Selection
) -> Iterator[tuple[int, Sequence[Message], Message]]:
    """(step, preceding messages, response) for each critical step, in order."""
    history: list[Message] = []
    for message, step in trajectory.owned_messages():
        if step in selection.indices:
            yield step, tuple(history), message
        history.append(message)


def row_name(trajectory: Trajectory, step: int) -> dict[str, Any]:
    """The fields that say which rows belong together: the trajectory and the critical step."""
    return {"id": trajectory.id, "step": step}


def with_thinking(message: Message, content: str | None = None) -> str:
    """The reasoning in <think> tags and then the content, for formats without a reasoning field."""
    content = message.content if content is None else content
    if not message.reasoning:
        return content
    return f"<think>\n{message.reasoning}\n</think>\n\n{content}"


def write_call(call: ToolCall) -> dict[str, Any]:
    """A tool call as an object, for formats without call ids.

    Arguments that are not an object, or would not come back from JSON, stay a text.
    """
    try:
        arguments = decode_arguments(call.arguments)
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        arguments = call.arguments
    is_object = isinstance(arguments, dict)
    return {"name": call.name, "arguments": arguments if is_object else call.arguments}


def read_call(written: Mapping[str, Any]) -> ToolCall:
    """Read a call that `write_call` wrote."""
    return ToolCall(name=written["name"], arguments=encode_arguments(written["arguments"]))


def tools_field(trajectory: Trajectory) -> dict[str, Any]:
    """The field `tools`; it is absent, not an empty list, if the trajectory has no tools."""
    return {"tools": list(trajectory.tools)} if trajectory.tools else {}


def tools_text(trajectory: Trajectory) -> str:
    """The tool schemas as JSON text, empty if there are none."""
    return json.dumps(trajectory.tools, ensure_ascii=False) if trajectory.tools else ""
