"""The rows in a stream of bytes, decoded strictly: `bytes -> rows and problems`.

The kind of file is recognized from its content. If several lines are each a complete value, it is
JSON Lines. A JSON file is one list of rows, one object (one row), or one list of chat messages (one
row too). Compressed files are read like others. Memory holds one row at a time, except for a file
that is one JSON object.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

from atlas.records import Problem
from atlas.trajectories.formats.containers import (
    Container,
    TornFileError,
    container_of,
    plain_suffix,
    read_up_to,
    tears_named,
    unpack,
)
from atlas.trajectories.formats.decoding import canonical_bytes, decode, finish
from atlas.trajectories.formats.json_array import MAX_ROW_BYTES, read_elements
from atlas.trajectories.formats.langchain.messages import is_written
from atlas.trajectories.formats.parquet import read_parquet
from atlas.trajectories.formats.responses.item_types import is_item
from atlas.trajectories.formats.rows import SourceRow, printable

HEAD_BYTES = 1 << 20
LINES_TO_LOOK_AT = 20
Shape = Literal["empty", "foreign", "lines", "list", "document", "lines or document"]


def read_rows(file: BinaryIO, container: Container, name: str) -> Iterator[SourceRow | Problem]:
    """The rows of an open file in order.

    A part that cannot be decoded is a problem: a line of JSON Lines, or an element of a JSON list.

    Args:
        name: the name of the file for messages.
    """
    if container == "parquet":
        yield from _rows_of_parquet(file, name)
        return
    last: SourceRow | Problem | None = None
    try:
        with tears_named(container):
            for last in _rows_of_text(unpack(file, container), name):
                yield last
    except TornFileError as error:
        after = f", after {last.where.removeprefix(f'{name} ')}" if last else ""
        lost = "What follows is lost. " if last else ""
        yield Problem(where=name, reason=f"{error}{after}. {lost}{error.advice}")


def holds_lines(file: BinaryIO, name: str) -> bool:
    """Whether an open file that is not packed is JSON Lines; its position stays as it is."""
    position = file.tell()
    file.seek(0)
    head = read_up_to(file, HEAD_BYTES)
    file.seek(position)
    return _shape(head, name) == "lines"


def line_chunks(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a file, about `size` bytes of them, with the index of the first line.

    They are for `rows_of_lines`.

    A line that is too long to hold ends its chunk, cut where it is too long.
    """
    file.seek(0)
    index = 0
    while chunk := file.read(size):
        start = chunk.rfind(b"\n") + 1
        if start < len(chunk):
            chunk += file.readline(MAX_ROW_BYTES + 1 - (len(chunk) - start))
            if len(chunk) - start > MAX_ROW_BYTES and not chunk.endswith(b"\n"):
                _skip_line(file)
        yield index, chunk
        index += chunk.count(b"\n") + (not chunk.endswith(b"\n"))


def rows_of_lines(file: BinaryIO, name: str, first_index: int = 0) -> Iterator[SourceRow | Problem]:
    """The rows of JSON Lines.

    Args:
        first_index: of the first line, where the file is a part of one.
    """
    for number, line in _lines(file, is_start=not first_index):
        index = first_index + number
        where = f"{name} row {index} (line {index + 1})"
        if line is None:
            reason = f"a line longer than {MAX_ROW_BYTES >> 20} MiB"
            yield Problem(where=where, reason=reason)
            continue
        try:
            value, known_hash = decode(line)
        except ValueError as error:
            yield Problem(where=where, reason=printable(str(error)))
            continue
        yield SourceRow(name, index, value, where, index + 1, known_hash)


def is_message(value: Any) -> bool:
    """Whether a decoded value looks like one message or item of some dialect."""
    return is_item(value) or (
        isinstance(value, dict)
        and ("role" in value or "from" in value or is_written(value))
        and "messages" not in value
        and "conversations" not in value
    )


def _rows_of_text(file: BinaryIO, name: str) -> Iterator[SourceRow | Problem]:
    head = read_up_to(file, HEAD_BYTES)
    file.seek(0)
    inner = container_of(head[:64])
    if inner == "utf-16":
        reason = "the file is UTF-16, expected UTF-8. Convert it, for example with iconv."
        yield Problem(where=name, reason=reason)
        return
    if inner != "plain":
        reason = f"the file is {inner} data, expected JSON text or a compressed file of it"
        yield Problem(where=name, reason=f"{reason}. Unpack it first.")
        return
    shape = _shape(head, name)
    if shape == "empty":
        yield Problem(where=name, reason="the file is empty, expected rows of JSON")
    elif shape == "foreign":
        start = head.lstrip()[:20].decode("utf-8", "replace")
        yield Problem(where=name, reason=f"not JSON: it starts with {start!a}")
    elif shape == "lines":
        yield from rows_of_lines(file, name)
    elif shape == "list":
        yield from _rows_of_list(file, name)
    else:
        yield from _rows_of_document(file, name, may_be_lines=shape == "lines or document")


def _rows_of_list(file: BinaryIO, name: str) -> Iterator[SourceRow | Problem]:
    """The elements of a JSON list; a list of chat messages is gathered into one row."""
    messages: list[Any] | None = None
    index = -1
    for index, element in enumerate(read_elements(file)):
        where = f"{name} row {index}" + (f" (line {element.line})" if element.line > 1 else "")
        if element.reason is not None:
            yield Problem(where=where, reason=printable(element.reason))
            if messages is not None:
                # The chat is not complete.
                return
            continue
        if index == 0 and is_message(element.value):
            messages = []
        if messages is not None and is_message(element.value):
            messages.append(element.value)
            continue
        # What began like a chat is a list of rows.
        for earlier, value in enumerate(messages or ()):
            yield SourceRow(name, earlier, value, f"{name} row {earlier}")
        messages = None
        yield SourceRow(name, index, element.value, where, element.line, element.content_hash)
    if messages:
        yield SourceRow(name, 0, messages, f"{name} row 0", 1)
    elif index < 0:
        yield Problem(where=name, reason="the file holds an empty list, expected rows")


def _rows_of_document(
    file: BinaryIO, name: str, may_be_lines: bool
) -> Iterator[SourceRow | Problem]:
    data = read_up_to(file, MAX_ROW_BYTES + 1)
    try:
        if len(data) > MAX_ROW_BYTES:
            raise ValueError(
                f"one JSON object of more than {MAX_ROW_BYTES >> 20} MiB. Split it into rows."
            )
        # Reading to the end detects a truncated file, also if some bytes of it are buffered.
        while read_up_to(file, HEAD_BYTES):
            pass
        value, known_hash = decode(data.removeprefix(codecs.BOM_UTF8).strip())
    except ValueError as error:
        if may_be_lines:
            file.seek(0)
            yield from rows_of_lines(file, name)
        else:
            yield Problem(where=name, reason=printable(str(error)))
        return
    yield SourceRow(name, 0, value, f"{name} row 0", None, known_hash)


def _rows_of_parquet(file: BinaryIO, name: str) -> Iterator[SourceRow | Problem]:
    index = -1
    try:
        for index, value in enumerate(read_parquet(file)):
            where = f"{name} row {index}"
            try:
                value, known_hash = finish(value, canonical_bytes(value))
            except ValueError as error:
                yield Problem(where=where, reason=printable(str(error)))
                continue
            yield SourceRow(name, index, value, where, None, known_hash)
    except ValueError as error:
        after = f", after row {index}" if index >= 0 else ""
        yield Problem(where=name, reason=printable(f"{error}{after}"))
        return
    if index < 0:
        yield Problem(where=name, reason="the file is empty, expected rows")


def _shape(head: bytes, name: str) -> Shape:
    """The kind of file, from its start. A line with only a bracket opens a value of many lines."""
    cut = len(head) >= HEAD_BYTES
    head = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not head:
        # If the start is only white space, it is skipped line by line.
        return "lines" if cut else "empty"
    lines = [line.strip() for line in head.split(b"\n", LINES_TO_LOOK_AT)]
    if cut and len(lines) == 1:
        # The first line continues beyond the head.
        return "list" if head.startswith(b"[") and not _opens_with_message(head) else "lines"
    first, *others = [line for line in lines if line]
    if others and first not in (b"[", b"{") and (_is_whole(first) or _is_named_lines(name, first)):
        return "lines"
    if first.startswith(b'"') and _is_whole(b"[" + first + b"]"):
        # Rows may be texts.
        return "lines"
    if first.startswith(b"["):
        return "lines" if first != b"[" and others and _is_whole(others[0]) else "list"
    if first != b"{" and any(map(_is_whole, others)):
        return "lines or document"
    return "document" if first.startswith(b"{") else "foreign"


def _is_named_lines(name: str, first: bytes) -> bool:
    return plain_suffix(name) in (".jsonl", ".ndjson") and not (
        first.startswith(b"[") and first.endswith(b",")
    )


def _opens_with_message(head: bytes) -> bool:
    text = head.decode("utf-8", "replace")
    try:
        start = len(text) - len(text[1:].lstrip())
        return is_message(json.JSONDecoder().raw_decode(text, start)[0])
    except (ValueError, RecursionError):
        return False


def _is_whole(line: bytes) -> bool:
    """Whether a line is a whole object or list."""
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _lines(file: BinaryIO, is_start: bool) -> Iterator[tuple[int, bytes | None]]:
    """The lines that are not blank, with their numbers, None for one that is too long to hold."""
    mark = codecs.BOM_UTF8 if is_start else b""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            _skip_line(file)
            yield number, None
        elif line := line.removeprefix(mark).strip():
            yield number, line
        else:
            number += _skip_blank_lines(file)
        mark = b""
        number += 1


def _skip_blank_lines(file: BinaryIO) -> int:
    """Skip the buffered blank lines, which would cost as much as rows; returns their number."""
    ahead = file.peek() if isinstance(file, io.BufferedReader) else b""
    end = ahead.rfind(b"\n", 0, len(ahead) - len(ahead.lstrip())) + 1
    return file.read(end).count(b"\n")


def _skip_line(file: BinaryIO) -> None:
    while (rest := file.readline(HEAD_BYTES)) and not rest.endswith(b"\n"):
        pass
