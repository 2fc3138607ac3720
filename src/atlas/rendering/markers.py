"""Markers in the texts of messages, which show what of a message a chat template writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

WORD_MARKER, NUMBER_MARKER = "zqmark{:04}kx", "8190{:06}"
# In numbers, a marker is a number.
MARKER = re.compile(r"zqmark\d+kx|8190\d{6}")
_WORD = re.compile(r"zqmark\d+kx")
_MARKED_NUMBER, _NUMBER = re.compile(r"8190\d{6}(?:\.5)?"), re.compile(r"[-+.\w]*")


def squeeze(text: str) -> str:
    """The text without white space: templates strip it and add some."""
    return "".join(text.split())


def agrees(there: str, written: str, is_exact: bool) -> bool:
    """Whether `there` is the text `written`, or else a piece of it, with markers."""
    place, left = 0, squeeze(written)
    pieces = [_WORD.sub("", piece) for piece in _MARKED_NUMBER.split(squeeze(there))]
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        found = left.rfind(piece, place) if is_exact and is_last else left.find(piece, place)
        if is_exact and not number and found > 0:
            return False
        if found < 0 or (number and not _NUMBER.fullmatch(left, place, found)):
            return False
        place = found + len(piece)
    return not is_exact or place == len(left)


class PlaceInText:
    """A place in a text that moves on with each message found there, without white space."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._is_lost = False

    @cached_property
    def _squeezed(self) -> str:
        return squeeze(self._text)

    def holds(self, text: str) -> bool:
        return squeeze(text) in self._squeezed

    def passes(self, texts: Sequence[str]) -> bool:
        """Whether texts follow; after one that does not, no more is searched."""
        for sought in map(squeeze, texts):
            found = -1 if self._is_lost else self._squeezed.find(sought, self._place)
            self._is_lost = found < 0
            self._place = found + len(sought)
        return not self._is_lost


def mark_schema(schema: Any, numbers: Iterator[int]) -> Any:
    """A copy of a tool schema with markers in all names of tools and of their parameters."""
    if isinstance(schema, list | tuple):
        return [mark_schema(inner, numbers) for inner in schema]
    if not isinstance(schema, Mapping):
        return schema
    marked: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "name" and isinstance(value, str):
            marked[key] = value + WORD_MARKER.format(next(numbers))
        elif key == "properties" and isinstance(value, Mapping):
            marked[key] = {
                name + WORD_MARKER.format(next(numbers)): mark_schema(inner, numbers)
                for name, inner in value.items()
            }
        else:
            marked[key] = mark_schema(value, numbers)
    return marked
