"""JSON that a person reads: the arguments of a call as rows, a result with an indentation.

No value changes: numbers keep their digits, and JSON with a key twice stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

# Longer JSON stays as it is.
MAX_CHARACTERS = 200_000


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
        return [(key, _argument(inner)) for key, inner in value.items()]
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
        return _write(_read(text), "")
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


def _argument(value: Any) -> str:
    if type(value) is str and "\n" in value:
        return value
    return _write(value, "")


def _write(value: Any, indent: str, width: int = 76) -> str:
    """The value on one line if it is short and flat, otherwise with a line for each part."""
    if not isinstance(value, (dict, list)):
        return str(value) if isinstance(value, _Literal) else json.dumps(value, ensure_ascii=False)
    deeper = indent + "  "
    if isinstance(value, dict):
        (opened, closed), inner = "{}", list(value.values())
        keys = [json.dumps(key, ensure_ascii=False) + ": " for key in value]
    else:
        (opened, closed), inner, keys = "[]", value, [""] * len(value)
    parts = [key + _write(each, deeper) for key, each in zip(keys, inner, strict=True)]
    nested = any(isinstance(each, (dict, list)) and each for each in inner)
    line = f"{opened}{', '.join(parts)}{closed}"
    if not nested and len(indent) + len(line) <= width:
        return line
    return f"{opened}\n{deeper}" + f",\n{deeper}".join(parts) + f"\n{indent}{closed}"
