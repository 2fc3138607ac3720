"""Looks into the arguments of the tool calls of a message."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from atlas.records import Message
from atlas.rendering.openai_messages import decode_arguments, encode_arguments


def change_truth(message: Message) -> Message:
    """A copy with all truth values in the arguments of calls turned around."""

    def change(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: change(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [change(inner) for inner in value]
        return not value if isinstance(value, bool) else value

    made = []
    for call in message.tool_calls:
        arguments = decode_arguments(call.arguments)
        other = change(arguments)
        # In Python 0 equals False, so the texts are compared.
        is_same = encode_arguments(other) == encode_arguments(arguments)
        text = call.arguments if is_same else encode_arguments(other)
        made.append(call.model_copy(update={"arguments": text}))
    return message.model_copy(update={"tool_calls": tuple(made)})


def argument_keys(message: Message) -> Iterator[str]:
    """The keys in the arguments of all calls. They are not marked: a template may know some."""
    waiting = [decode_arguments(call.arguments) for call in message.tool_calls]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def argument_values(message: Message) -> Iterator[str]:
    """The texts and numbers in the arguments of all calls."""
    waiting = [decode_arguments(call.arguments) for call in message.tool_calls]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif value is not None and not isinstance(value, bool):
            yield value if isinstance(value, str) else json.dumps(value)
