"""JSON that a person reads: the arguments of a call as rows, a result with an indentation.

No value changes: numbers keep their digits, and JSON with a key twice stays as it is. So does
deeply nested JSON, which an indentation would make many times as long: texts come from anyone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

# Longer JSON stays as it is.
MAX_CHARACTERS = 200_000
MAX_DEPTH = 100
# How many times as long as JSON its indentation may be; short JSON may need more.
MAX_GROWTH = 6
SHORT = 2_000
# A list or object of plain values takes one line if the line is not longer.
WIDTH = 76


class _Literal(str):
    """The digits of a number, or a constant."""


class _TwiceError(ValueError):
    """A key stands twice in an object."""


def read_arguments(text: str) -> list[tuple[str, str]] | None:
    r"""The names and values of a JSON object; None for other texts.

    A text of several lines is given without quotes, other values as JSON.

    >>> read_arguments('{"path": "a.py", "text": "x = 1\\ny = 2", "line": 1.50}')
    [('path', '"a.py"'), ('text', 'x = 1\ny = 2'), ('line', '1.50')]
    """
    try:
        value = _read(text)
        if not isinstance(value, dict):
            return None
        writer = _Writer(text)
        return [(key, _argument(inner, writer)) for key, inner in value.items()]
    except (ValueError, RecursionError):
        return None


def indent_json(text: str) -> str:
    """The text with an indentation, if all of it is a JSON object or array.

    >>> indent_json("[1.0, 2]")
    '[1.0, 2]'
    >>> print(indent_json('{"a": {"b": 10000000000000000000001.10}}'))
    {
      "a": {"b": 10000000000000000000001.10}
    }
    """
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return _Writer(text).write(_read(text))
    except (ValueError, RecursionError):
        return text


def _read(text: str) -> Any:
    if len(text) > MAX_CHARACTERS:
        raise ValueError("too long")
    return json.loads(
        text,
        parse_int=_Literal,
        parse_float=_Literal,
        parse_constant=_Literal,
        object_pairs_hook=_object,
    )


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwiceError
    return found


def _argument(value: Any, writer: _Writer) -> str:
    if type(value) is str and "\n" in value:
        return value
    return writer.write(value)


class _Writer:
    """Writes the values of one text; a ValueError if they grow too long or are nested too deep."""

    def __init__(self, text: str) -> None:
        self._left = max(SHORT, MAX_GROWTH * len(text))
        self._pieces: list[str] = []

    def write(self, value: Any) -> str:
        self._pieces = []
        self._add_value(value, 0)
        return "".join(self._pieces)

    def _add(self, piece: str) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise ValueError("too long")
        self._pieces.append(piece)

    def _add_value(self, value: Any, depth: int) -> None:
        """The value on one line if it is short and flat, otherwise with a line for each part."""
        if not isinstance(value, (dict, list)):
            self._add(_plain(value))
            return
        if depth > MAX_DEPTH:
            raise ValueError("too deep")
        if (line := _flat(value)) is not None and 2 * depth + len(line) <= WIDTH:
            self._add(line)
            return
        opened, closed = "{}" if isinstance(value, dict) else "[]"
        before = f"\n{'  ' * (depth + 1)}"
        self._add(opened)
        for number, (key, inner) in enumerate(_parts(value)):
            self._add(f"{',' if number else ''}{before}{key}")
            self._add_value(inner, depth + 1)
        self._add(f"\n{'  ' * depth}{closed}")


def _plain(value: Any) -> str:
    return str(value) if isinstance(value, _Literal) else json.dumps(value, ensure_ascii=False)


def _parts(value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    """What stands before each inner value, and the inner value."""
    if isinstance(value, dict):
        return ((f"{_plain(key)}: ", inner) for key, inner in value.items())
    return (("", inner) for inner in value)


def _flat(value: dict[str, Any] | list[Any]) -> str | None:
    """The value on one line; None if a part of it holds others, or if the line is far too long."""
    if 3 * len(value) > WIDTH:
        return None
    inner = value.values() if isinstance(value, dict) else value
    if any(isinstance(each, (dict, list)) and each for each in inner):
        return None
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}{', '.join(key + _plain(each) for key, each in _parts(value))}{closed}"
