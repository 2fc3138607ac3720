"""Decodes a JSON value strictly: `bytes -> value and content hash`, or an error message.

pydantic's decoder and orjson's encoder are used where they are exact. Python's own json module is
used where they do not detect an error (a repeated key) or refuse valid JSON (great depth). Both
give the same content hash.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from pydantic_core import from_json

# Older tables hold JSON within a text under these keys.
NESTED_KEYS = (
    "messages",
    "conversations",
    "conversation",
    "tools",
    "functions",
    "trajectory",
)


# What readers of JSON decode.
MAX_DECODED_LEVELS = 199
# A value takes up to a hundred times the memory of its text, which may be two bytes.
MAX_VALUES = 5_000_000
_OPENING, _CLOSING, _COUNTED = {*"[{", *b"[{"}, {*"]}", *b"]}"}, {*"[{,", *b"[{,"}
# A string without an end is one match, too: each of its quotes would look for the end again.
_MARKS = r'"(?:[^"\\]|\\.)*+"?|[][{},]'
_MARKS_OF_TEXT = re.compile(_MARKS, re.DOTALL)
_MARKS_OF_BYTES = re.compile(_MARKS.encode(), re.DOTALL)


class Constant:
    """NaN or an infinity in place of a value: Python writes them, JSON does not have them."""

    def __init__(self, name: str) -> None:
        self.name = name


def decode(data: bytes) -> tuple[Any, str]:
    """A value and its content hash; texts that are JSON are decoded too, under NESTED_KEYS.

    Raises:
        ValueError: the bytes are not JSON that a record can hold; its text is the reason.
    """
    if len(data) > MAX_VALUES:
        refuse_many_values(data)
    try:
        value = from_json(data, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        value = decode_text(data)
    return finish(value, data)


def refuse_many_values(data: bytes | str, start: int = 0) -> None:
    """Raise ValueError if the JSON value at `start` holds more than MAX_VALUES values.

    Memory might not hold them. The rest of the text is not looked at.
    """
    marks: Iterator[re.Match[Any]]
    if isinstance(data, str):
        marks = _MARKS_OF_TEXT.finditer(data, start)
    else:
        # Some of these characters may stand in strings.
        if sum(map(data.count, (b",", b"[", b"{"))) <= MAX_VALUES:
            return
        marks = _MARKS_OF_BYTES.finditer(data, start)
    num_values = depth = 0
    for match in marks:
        mark = data[match.start()]
        depth += (mark in _OPENING) - (mark in _CLOSING)
        num_values += mark in _COUNTED
        if num_values > MAX_VALUES:
            raise ValueError(f"one row of more than {MAX_VALUES:,} values. Split it into rows.")
        if not depth:
            return


def decode_text(data: bytes) -> Any:
    """A value by Python's decoder: exact whole numbers, and reasons that name line and column."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}. "
            "Save the file as UTF-8."
        ) from None
    try:
        return json.loads(text, parse_constant=Constant)
    except json.JSONDecodeError as error:
        raise ValueError(explain(error, text)) from None
    except ValueError:
        raise ValueError("not usable JSON: a number with thousands of digits") from None
    except RecursionError:
        raise ValueError("not usable JSON: nested too deeply") from None


def explain(error: json.JSONDecodeError, text: str) -> str:
    """The decoder's complaint with its place."""
    place = (
        f"line {error.lineno} column {error.colno}"
        if "\n" in text.strip()
        else f"column {error.colno}"
    )
    return f"not JSON: {error.msg.removesuffix(' at')} at {place}"


def finish(value: Any, data: bytes) -> tuple[Any, str]:
    """A decoded value with its nested texts decoded, and its hash.

    Args:
        data: what the value was decoded from.

    Raises:
        ValueError: the value is one that a record cannot hold, or an object has a key twice.
    """
    canonical = canonical_bytes(value)
    # The numbers usually are equal; one key fewer is a key that occurred twice.
    if canonical.count(b":") != data.count(b":"):
        _refuse_repeated_keys(data)
    if isinstance(value, dict) and str in map(type, map(value.get, NESTED_KEYS)):
        value = _with_nested(value)
        canonical = canonical_bytes(value)
    return value, hashlib.sha256(canonical).hexdigest()[:12]


def content_hash(value: Any) -> str:
    """12 hex digits of a decoded value, whatever the white space and the order of keys."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()[:12]


def canonical_bytes(value: Any) -> bytes:
    """A decoded value as JSON with sorted keys. Raises ValueError for what no record can hold."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        pass
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_refuse
        )
        canonical = text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"a text holds {error.object[error.start]!r}, half of a surrogate pair"
        ) from None
    except RecursionError:
        raise ValueError("not usable JSON: nested too deeply") from None
    if is_deeper(value, MAX_DECODED_LEVELS):
        raise ValueError("not usable JSON: nested too deeply")
    return canonical


def _refuse(value: Any) -> Any:
    name = value.name if isinstance(value, Constant) else type(value).__name__
    raise ValueError(
        f"not JSON: {name} is not a JSON number"
        if isinstance(value, Constant)
        else f"not JSON: a value of type {name}"
    )


def _refuse_repeated_keys(data: bytes) -> None:
    def check(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(
                f"the key {twice!r:.60} occurs twice in one object, "
                "so it is not clear which value counts"
            )
        return made

    try:
        json.loads(data, object_pairs_hook=check)
    except RecursionError:
        raise ValueError("not usable JSON: nested too deeply") from None


def _with_nested(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _nested(value) if key in NESTED_KEYS and isinstance(value, str) else value
        for key, value in row.items()
    }


def _nested(text: str) -> Any:
    """What a text that is a JSON list or object says; other texts stay as they are."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        value = decode_text(text.encode())
        canonical_bytes(value)
        _refuse_repeated_keys(text.encode())
    except ValueError:
        return text
    return value


def is_deeper(value: Any, limit: int) -> bool:
    """Whether more than `limit` lists and objects lie within each other."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        if not level:
            return False
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each)
            if isinstance(child, dict | list)
        ]
    return bool(level)
