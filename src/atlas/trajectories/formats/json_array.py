"""Reads a JSON list element by element: `stream -> elements`, with one element in memory.

If the list has one element per line (all with the same indentation), a broken element is skipped,
and reading continues at the next line that starts like the first element. In other lists, reading
ends, because the start of the next element is not known.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from atlas.trajectories.formats.containers import read_up_to
from atlas.trajectories.formats.decoding import (
    MAX_VALUES,
    Constant,
    explain,
    finish,
    refuse_many_values,
)

CHUNK = 1 << 20
MAX_ROW_BYTES = 512 << 20
CUT_OFF = "the file ends in the middle of the list: it was cut off"
_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder(parse_constant=Constant)


@dataclass(frozen=True, slots=True)
class ListElement:
    """One element, or the reason why it is broken.

    Attributes:
        line: where it starts, counted from 1.
        endless: the end of the broken element is not known.
    """

    line: int
    value: Any = None
    content_hash: str = ""
    reason: str | None = None
    endless: bool = False


class _Text:
    """A window on the text of a stream: text before `position` is dropped on the next read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text = ""
        self.position = 0
        self._line, self._counted = 1, 0
        self.ended = False
        self.read()
        self.text = self.text.removeprefix("\ufeff")

    def read(self) -> None:
        """Read as much text as is already ahead, but at least one chunk."""
        _ = self.line
        ahead = self.text[self.position :]
        data = read_up_to(self._file, max(CHUNK, len(ahead)))
        self.ended = not data
        self.text, self.position = ahead + self._utf8.decode(data, final=self.ended), 0
        self._counted = 0

    def skip_space(self) -> str:
        """The next character that is not white space; an empty text at the end."""
        while True:
            match = _SPACE.match(self.text, self.position)
            assert match is not None
            self.position = match.end()
            if self.position < len(self.text) or self.ended:
                return self.text[self.position : self.position + 1]
            self.read()

    @property
    def line(self) -> int:
        """The line of the position, counted from 1."""
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line


def read_elements(file: BinaryIO) -> Iterator[ListElement]:
    """The elements of the list in a stream; the last may be the reason why no more are read."""
    window = _Text(file)
    assert window.skip_space() == "["
    window.position += 1
    indent = _indent(window)
    first = True
    while (char := window.skip_space()) != "]":
        if not first:
            if char != ",":
                yield ListElement(
                    window.line,
                    reason=CUT_OFF if not char else f"not JSON: {char!r} where ',' was expected",
                )
                if not _find_next(window, indent):
                    return
                char = window.skip_space()
            else:
                window.position += 1
                char = window.skip_space()
        first = False
        line = window.line
        if not char:
            yield ListElement(line, reason=CUT_OFF)
            return
        element = _next_element(window, line)
        yield element
        if element.endless and not _find_next(window, indent):
            return
        # After a skipped element, no comma is expected.
        first = element.endless
    window.position += 1
    if char := window.skip_space():
        yield ListElement(
            window.line, reason=f"not JSON: {char!r} after the end of the list", endless=True
        )


def _next_element(window: _Text, line: int) -> ListElement:
    """The element at the window's position; `endless` where its end is not known."""
    while True:
        try:
            value, end = _decode_at(window.text, window.position)
            if end < len(window.text) or window.ended:
                break
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated string") or error.pos > len(window.text) - 32
            if window.ended or not cut:
                start = window.text[window.position : error.pos + 1]
                shown = json.JSONDecodeError(error.msg, start, len(start) - 1)
                ends = error.msg.startswith("Unterminated string") or error.pos >= len(
                    window.text.rstrip()
                )
                return ListElement(
                    line, reason=CUT_OFF if ends else explain(shown, start), endless=True
                )
        except ValueError as error:
            return ListElement(line, reason=str(error), endless=True)
        except RecursionError:
            return ListElement(line, reason="not usable JSON: nested too deeply", endless=True)
        if len(window.text) - window.position > MAX_ROW_BYTES:
            return ListElement(line, reason=f"longer than {MAX_ROW_BYTES >> 20} MiB", endless=True)
        window.read()
    raw = window.text[window.position : end]
    window.position = end
    try:
        value, content_hash = finish(value, raw.encode())
    except UnicodeEncodeError as error:
        return ListElement(
            line,
            reason=f"not UTF-8: byte 0x{ord(raw[error.start]) & 0xFF:02x}. Save the file as UTF-8.",
        )
    except ValueError as error:
        return ListElement(line, reason=str(error))
    return ListElement(line, value, content_hash)


def _decode_at(text: str, position: int) -> tuple[Any, int]:
    if len(text) - position > MAX_VALUES:
        refuse_many_values(text, position)
    try:
        return _decoder.raw_decode(text, position)
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise ValueError("not usable JSON: a number with thousands of digits") from None


def _indent(window: _Text) -> str | None:
    """The white space before the first element, if that starts on a line of its own."""
    start = window.position
    window.skip_space()
    space = window.text[start : window.position] if start <= window.position else ""
    return space.rpartition("\n")[2] if "\n" in space else None


def _find_next(window: _Text, indent: str | None) -> bool:
    """Skip to the next line that starts like the first element; False if there is none."""
    if indent is None:
        return False
    start = re.compile(r",[ \t\r]*\n" + re.escape(indent) + r"(?=[\[{])")
    while True:
        if match := start.search(window.text, window.position + 1):
            window.position = match.end()
            return True
        if window.ended:
            return False
        window.position = max(window.position, len(window.text) - len(indent) - 64)
        window.read()
