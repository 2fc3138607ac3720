"""Tool calls in every spelling: `decoded call -> ToolCall`.

A call has an id, a name and arguments, under several names and at several depths:
`{"id", "function": {"name", "arguments"}}`, `{"toolCallId", "toolName", "args"}`,
`{"toolUse": {"toolUseId", "name", "input"}}`, `{"id", "toolCall": {"value": {"name", …}}}`. A call
without arguments is `{}` only if nothing else stands there that could be its arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.records import ToolCall
from atlas.trajectories.formats.rows import BadRowError

# The id that the results repeat stands before an id of the item.
ID_KEYS = ("call_id", "callId", "tool_call_id", "toolCallId", "tool_use_id", "toolUseId", "id")
NAME_KEYS = ("name", "toolName", "tool_name", "function_name", "functionName", "tool", "function")
ARGUMENTS_KEYS = (
    "arguments",
    "args",
    "params",
    "kwargs",
    "parameters",
    "input",
    "inputs",
    "tool_input",
    "toolInput",
    "tool_args",
    "function_args",
    "action_input",
    "rawInput",
)
# Objects within a call that hold its name and arguments.
INNER_KEYS = (
    "function",
    "custom",
    "function_call",
    "functionCall",
    "tool_call",
    "toolCall",
    "tool_use",
    "toolUse",
    "toolInvocation",
    "value",
)
# Texts, numbers and booleans of a call that are not its arguments.
PLAIN_KEYS = (
    *("type", "kind", "object", "index", "role", "from", "status", "state", "step", "title"),
    *("success", "timestamp", "created", "created_at", "signature", "thought_signature"),
    *("thoughtSignature", "providerName", "providerExecuted", "provider_executed", "dynamic"),
    *("namespace", "weight", "loss", "loss_weight", "train", "trainable", "model"),
    *("reasoning_content", "reasoning", "thinking"),
)
# Values of any kind: metadata, and the result where it stands beside the call.
OTHER_KEYS = (
    *("extra_content", "provider_specific_fields", "providerMetadata", "providerOptions"),
    *("callProviderMetadata", "cache_control", "caller", "metadata"),
    *("output", "result", "results", "error", "errorText"),
)
MAX_INNER = 3
_DECODER = json.JSONDecoder()


def read_tool_call(call: Any, index: int) -> ToolCall:
    """A tool call in one of its spellings, or as the JSON text of one.

    Raises:
        BadRowError: it has no name, or its arguments are not found or not usable.
    """
    given = decode_nested(call)
    owners = _owners(given if isinstance(given, dict) else {})
    name = next((text for text in _values(owners, NAME_KEYS) if isinstance(text, str)), None)
    if name is None:
        raise BadRowError(
            "a tool call has no function name, expected {'id', 'function': {'name', 'arguments'}}",
            index,
        )
    return ToolCall(
        id=next(filter(None, (read_id(owner, ID_KEYS, index) for owner in reversed(owners))), None),
        name=name,
        arguments=_arguments(owners, name, index),
    )


def is_named_call(value: Any) -> bool:
    """Whether a value, or its JSON text, is an object with the name of a function."""
    given = decode_nested(value)
    owners = _owners(given) if isinstance(given, dict) else []
    return any(isinstance(name, str) for name in _values(owners, NAME_KEYS))


def read_id(given: Mapping[str, Any], keys: Sequence[str], index: int) -> str | None:
    """The id under the first of `keys` that has one: a text, or a whole number as a text.

    Raises:
        BadRowError: it is something else.
    """
    for key in keys:
        value = given.get(key)
        if isinstance(value, str):
            return value
        if type(value) is int and abs(value) < 2**53:
            return str(value)
        if value is not None:
            raise BadRowError(f"{key} is {value!r:.60}, expected a text or a whole number", index)
    return None


def has_content(value: Any) -> bool:
    """Whether a value says anything: 0 and false do, empty texts, lists and objects do not."""
    return value is not None and value != "" and value != [] and value != {}


def decode_nested(value: Any) -> Any:
    """A JSON text as its value; anything else, and a text that is not JSON, as it is."""
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value, parse_constant=_refuse_constant)
        # Raises for half of a surrogate pair, which no record can hold.
        json.dumps(decoded, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return value
    return decoded


def decode_sequence(text: str) -> list[Any]:
    """The objects and lists of a text that is nothing but several of them as JSON, else none."""
    values: list[Any] = []
    end = 0
    while rest := text[end:].lstrip():
        begin = len(text) - len(rest)
        try:
            _, end = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            return []
        value = decode_nested(text[begin:end])
        if not isinstance(value, dict | list):
            return []
        values.append(value)
    return values


def _owners(call: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The objects that a call consists of, the innermost first."""
    owners = [call]
    while len(owners) <= MAX_INNER:
        found = (decode_nested(owners[0].get(key)) for key in INNER_KEYS)
        inner = next((each for each in found if isinstance(each, dict) and each), None)
        if inner is None:
            break
        owners.insert(0, inner)
    return owners


def _values(owners: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Iterator[Any]:
    return (owner[key] for owner in owners for key in keys if owner.get(key) is not None)


def _arguments(owners: Sequence[Mapping[str, Any]], name: str, index: int) -> str:
    """The JSON text of the arguments; texts are kept verbatim."""
    value = _given_arguments([*_values(owners, ARGUMENTS_KEYS)], name, index)
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if value is not None:
        raise BadRowError(
            f"the arguments of tool call {name!r:.60} are {value!r:.60}, "
            "expected a JSON text, an object or a list",
            index,
        )
    if unknown := [
        str(key)
        for owner in owners
        for key, other in owner.items()
        if has_content(other) and not _is_known(key, other)
    ]:
        raise BadRowError(
            f"tool call {name!r:.60} has no arguments, but {', '.join(unknown)[:80]!r}; "
            f"expected them under one of {', '.join(ARGUMENTS_KEYS)}",
            index,
        )
    return "{}"


def _given_arguments(found: Sequence[Any], name: str, index: int) -> Any:
    """The one of several values that says anything, also as a JSON text."""
    if len(found) < 2:
        return found[0] if found else None
    full = [value for value in found if has_content(decode_nested(value))]
    if any(decode_nested(value) != decode_nested(full[0]) for value in full[1:]):
        raise BadRowError(
            f"tool call {name!r:.60} has several arguments that differ, expected them under one of "
            f"{', '.join(ARGUMENTS_KEYS)}",
            index,
        )
    return full[0] if full else found[0]


def _is_known(key: Any, value: Any) -> bool:
    """Whether a field of a call is known to be something else than its arguments."""
    if key in OTHER_KEYS or key in ID_KEYS:
        return True
    if isinstance(decode_nested(value), dict | list):
        return key in INNER_KEYS
    return key in PLAIN_KEYS or key in NAME_KEYS


def _refuse_constant(constant: str) -> Any:
    raise ValueError(constant)
