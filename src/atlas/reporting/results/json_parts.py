"""Reads JSON part by part: the elements of a list, or the members of an object.

Only one part is in memory at a time. NaN and infinities, which Python writes into JSON, are read as
numbers: a score that is not a number makes its sample invalid, not its file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

from atlas.errors import DataError

CHUNK_BYTES = 1 << 20
# Of one element, member or line.
MAX_PART_CHARS = 256 << 20
# A value takes up to a hundred times the memory of its text.
MAX_VALUES = 5_000_000
_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder()


class JsonText:
    """A window on the text of a stream; what lies before its position is dropped.

    Args:
        name: of the file, for messages.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._position = "", 0
        self._is_whole = False

    def peek(self) -> str:
        """The next character that is not white space; an empty text at the end."""
        while True:
            match = _SPACE.match(self._text, self._position)
            self._position = match.end() if match else self._position
            if self._position < len(self._text) or self._is_whole:
                return self._text[self._position : self._position + 1]
            self._read()

    def take(self, expected: str) -> None:
        """Go past one character.

        Raises:
            DataError: another character is next.
        """
        if (found := self.peek()) != expected:
            raise self.fault(f"{found!r} where {expected!r} was expected" if found else None)
        self._position += 1

    def value(self) -> Any:
        """The next value.

        Raises:
            DataError: it is not JSON, too large, or cut off.
        """
        self.peek()
        while True:
            try:
                _refuse_many(self._text, self._position)
                value, end = _decoder.raw_decode(self._text, self._position)
                # A number may go on in the next chunk.
                if end < len(self._text) or self._is_whole:
                    self._position = end
                    return value
            except json.JSONDecodeError as error:
                may_go_on = error.msg.startswith("Unterminated") or error.pos > len(self._text) - 32
                if self._is_whole or not may_go_on:
                    is_cut = self._is_whole and may_go_on
                    raise self.fault(None if is_cut else error.msg.lower()) from None
            except RecursionError:
                raise self.fault("nested too deeply") from None
            except ValueError as error:
                raise self.fault(str(error)) from None
            if len(self._text) - self._position > MAX_PART_CHARS:
                raise self.fault(f"one value of more than {MAX_PART_CHARS >> 20} MiB")
            self._read()

    def end(self) -> None:
        """Check that nothing follows.

        Raises:
            DataError: something does, which reading would leave out.
        """
        if self.peek():
            raise DataError(
                f"{self._name}: more text follows the end of its JSON, so it holds several values. "
                "Write one value for each line (JSON Lines), or one list of them."
            )

    def fault(self, reason: str | None) -> DataError:
        """The error of a text that cannot be read on; None: it ends too early."""
        if reason is None:
            return DataError(
                f"{self._name}: the file ends in the middle of its JSON: it was cut off, or is "
                "still being written. Get the file again."
            )
        return DataError(f"{self._name}: not usable JSON: {reason}. Get the file again.")

    def _read(self) -> None:
        """Read as much as is already ahead, but at least one chunk."""
        ahead = self._text[self._position :]
        data = self._file.read(max(CHUNK_BYTES, len(ahead)))
        self._is_whole = not data
        try:
            self._text = ahead + self._utf8.decode(data, final=self._is_whole)
        except UnicodeDecodeError as error:
            raise self.fault(not_utf8(error)) from None
        self._position = 0


def read_elements(text: JsonText) -> Iterator[Any]:
    """The elements of the list that is next.

    Raises:
        DataError: as `JsonText.value`.
    """
    text.take("[")
    if text.peek() != "]":
        yield text.value()
        while text.peek() == ",":
            text.take(",")
            yield text.value()
    text.take("]")


def read_members(text: JsonText, in_parts: Collection[str]) -> Iterator[tuple[str, Any]]:
    """The members of the object that is next.

    A list under one of the keys `in_parts` is read as `(key, element)`, one for each element.

    Raises:
        DataError: as `JsonText.value`.
    """
    text.take("{")
    if text.peek() != "}":
        yield from _member(text, in_parts)
        while text.peek() == ",":
            text.take(",")
            yield from _member(text, in_parts)
    text.take("}")


def _member(text: JsonText, in_parts: Collection[str]) -> Iterator[tuple[str, Any]]:
    if text.peek() != '"':
        raise text.fault("a key was expected" if text.peek() else None)
    key = text.value()
    text.take(":")
    if key in in_parts and text.peek() == "[":
        for element in read_elements(text):
            yield key, element
    else:
        yield key, text.value()


def decode_line(line: bytes, where: str) -> Any:
    """The value in a line of JSON Lines.

    Raises:
        DataError: it is not JSON, or too large.
    """
    if len(line) > MAX_PART_CHARS:
        raise DataError(
            f"{where}: a line of more than {MAX_PART_CHARS >> 20} MiB, expected one result a line. "
            "Split the file."
        )
    try:
        text = line.decode("utf-8-sig")
        _refuse_many(text, 0)
        return json.loads(text)
    except UnicodeDecodeError as error:
        reason = not_utf8(error)
    except RecursionError:
        reason = "nested too deeply"
    except json.JSONDecodeError as error:
        reason = f"{error.msg.lower()} at column {error.colno}"
    except ValueError as error:
        reason = str(error)
    raise DataError(
        f"{where}: not usable JSON: {reason}. Fix the line; if it is the last one, the file "
        "was cut off: get it again."
    )


def not_utf8(error: UnicodeDecodeError) -> str:
    """The reason why bytes are not text."""
    return f"not UTF-8, byte 0x{error.object[error.start]:02x}; save the file as UTF-8"


def _refuse_many(text: str, start: int) -> None:
    """Raise ValueError where a text may hold more values than memory does."""
    if len(text) - start > MAX_VALUES and (
        sum(text.count(mark, start) for mark in ",[{") > MAX_VALUES
    ):
        raise ValueError(f"one value of more than {MAX_VALUES:,} parts")
