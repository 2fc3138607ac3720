"""Rows of a file, decoded strictly, one bad row at a time: `file -> rows and problems`.

Which kind of file it is, its content says: several lines that are each a whole value are JSON Lines. A JSON file is one list of
rows, one object (a row of its own), or one list of chat messages (a row of its own too). Compressed files are read like others.
Memory holds one row at a time, except for a file that is one JSON object.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ValidationError

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.containers import (
    TornFileError,
    kind_of,
    kind_of_bytes,
    open_plain,
    plain_suffix,
    read_up_to,
)
from atlas.trajectories.formats.decoding import canonical_bytes, content_hash, decode, finish
from atlas.trajectories.formats.json_array import MAX_ROW_BYTES, read_elements
from atlas.trajectories.formats.parquet import read_parquet

HEAD_BYTES = 1 << 20
LINES_TO_LOOK_AT = 20
Shape = Literal["empty", "foreign", "lines", "list", "document", "lines or document"]
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One decoded row; `where` names it for people, `index` counts from 0 as `Source.row` does, `line` from 1 where there are lines."""

    index: int
    value: Any
    where: str
    line: int | None = None
    known_hash: str | None = field(default=None, repr=False, compare=False)

    @property
    def content_hash(self) -> str:
        """12 hex digits of the decoded content: the same row in another file or place has the same."""
        return self.known_hash or content_hash(self.value)


class BadRowError(Exception):
    """A row that is no trajectory; caught by `convert_rows`, which alone knows the row's place."""

    def __init__(self, reason: str, message: int | None = None) -> None:
        super().__init__(reason)
        self.message = message


def convert_rows(
    path: Path, convert: Callable[[Row], Trajectory | Iterable[Trajectory | Problem]]
) -> Iterator[Trajectory | Problem]:
    """Each row of the file through `convert`, which may find several trajectories in it.

    What cannot be converted becomes a problem that names row and message.
    """
    return convert_each(read_rows(path), convert)


def convert_each(
    rows: Iterable[Row | Problem],
    convert: Callable[[Row], Trajectory | Iterable[Trajectory | Problem]],
) -> Iterator[Trajectory | Problem]:
    """`convert_rows` for rows that are there already."""
    for row in rows:
        if isinstance(row, Problem):
            yield row
            continue
        try:
            made = convert(row)
            if isinstance(made, Trajectory):
                yield made
            else:
                yield from made
        except BadRowError as error:
            place = row.where if error.message is None else f"{row.where}, message {error.message}"
            yield Problem(where=place, reason=_printable(str(error)), item=_item(row.value))
        except RecursionError:
            yield Problem(
                where=row.where, reason="not usable: nested too deeply", item=_item(row.value)
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            yield Problem(
                where=row.where,
                reason=_printable(f"not a trajectory: {place}: {first['msg']}"),
                item=_item(row.value),
            )


def read_rows(path: Path) -> Iterator[Row | Problem]:
    """The rows of a file in order. What cannot be decoded is a problem: its line in JSON Lines, its element in a JSON list."""
    name = path.name
    kind = kind_of(path)
    if kind == "parquet":
        yield from _rows_of_parquet(path)
        return
    last: Row | Problem | None = None
    try:
        for last in _rows_of_text(path):
            yield last
    except TornFileError as error:
        after = f", after {last.where.removeprefix(f'{name} ')}" if last else ""
        yield Problem(
            where=name,
            reason=f"{error}{after}. What follows is lost."
            if last
            else f"{error}. Get the file again.",
        )


def is_message(value: Any) -> bool:
    """Whether a decoded value looks like one chat message of some dialect."""
    return (
        isinstance(value, dict)
        and ("role" in value or "from" in value)
        and "messages" not in value
        and "conversations" not in value
    )


def _rows_of_text(path: Path) -> Iterator[Row | Problem]:
    with open_plain(path) as file:
        start = read_up_to(file, 64)
    inner = kind_of_bytes(start)
    if inner == "utf-16":
        yield Problem(
            where=path.name,
            reason="the file is UTF-16, expected UTF-8. Convert it, with iconv say.",
        )
    elif inner != "plain":
        yield Problem(
            where=path.name,
            reason=f"the file is {inner} data, expected JSON text or a compressed file of it. Unpack it first.",
        )
    elif (shape := _shape(path)) == "empty":
        yield Problem(where=path.name, reason="the file is empty, expected rows of JSON")
    elif shape == "foreign":
        yield Problem(
            where=path.name,
            reason=f"not JSON: it starts with {start.lstrip()[:20].decode('utf-8', 'replace')!a}",
        )
    elif shape == "lines":
        yield from _rows_of_lines(path)
    elif shape == "list":
        yield from _rows_of_list(path)
    else:
        yield from _rows_of_document(path, may_be_lines=shape == "lines or document")


def _rows_of_lines(path: Path) -> Iterator[Row | Problem]:
    with open_plain(path) as file:
        yield from _rows_of_stream(file, path.name)


def _rows_of_stream(file: BinaryIO, name: str) -> Iterator[Row | Problem]:
    """The rows of lines, the first of them being the first of its file."""
    for index, line in enumerate(_lines(file, True)):
        if line is None:
            reason = f"a line longer than {MAX_ROW_BYTES >> 20} MiB"
            yield Problem(where=f"{name} row {index} (line {index + 1})", reason=reason)
            continue
        line = line.strip()
        if not line:
            continue
        where = f"{name} row {index} (line {index + 1})"
        try:
            value, known_hash = decode(line)
        except ValueError as error:
            yield Problem(where=where, reason=_printable(str(error)))
            continue
        yield Row(index, value, where, index + 1, known_hash)


def _rows_of_list(path: Path) -> Iterator[Row | Problem]:
    """The elements of a JSON list; a list of chat messages is gathered into one row."""
    name = path.name
    messages: list[Any] | None = None
    index = -1
    with open_plain(path) as file:
        for index, element in enumerate(read_elements(file)):
            where = f"{name} row {index}" + (f" (line {element.line})" if element.line > 1 else "")
            if element.reason is not None:
                yield Problem(where=where, reason=_printable(element.reason))
                if messages is not None:
                    return  # the chat is not whole
                continue
            if index == 0 and is_message(element.value):
                messages = []
            if messages is not None and is_message(element.value):
                messages.append(element.value)
                continue
            for earlier, value in enumerate(messages or ()):  # no chat after all
                yield Row(earlier, value, f"{name} row {earlier}")
            messages = None
            yield Row(index, element.value, where, element.line, element.content_hash)
    if messages:
        yield Row(0, messages, f"{name} row 0", 1)
    elif index < 0:
        yield Problem(where=name, reason="the file holds an empty list, expected rows")


def _rows_of_document(path: Path, may_be_lines: bool) -> Iterator[Row | Problem]:
    with open_plain(path) as file:
        data = read_up_to(file, MAX_ROW_BYTES + 1)
        if len(data) <= MAX_ROW_BYTES:
            read_up_to(file, 1)  # meets the tear of a file that was cut off
    try:
        if len(data) > MAX_ROW_BYTES:
            raise ValueError(
                f"one JSON object of more than {MAX_ROW_BYTES >> 20} MiB. Split it into rows."
            )
        value, known_hash = decode(data.removeprefix(codecs.BOM_UTF8).strip())
    except ValueError as error:
        if may_be_lines:
            yield from _rows_of_lines(path)
        else:
            yield Problem(where=path.name, reason=_printable(str(error)))
        return
    yield Row(0, value, f"{path.name} row 0", None, known_hash)


def _rows_of_parquet(path: Path) -> Iterator[Row | Problem]:
    index = -1
    try:
        for index, value in enumerate(read_parquet(path)):
            where = f"{path.name} row {index}"
            try:
                value, known_hash = finish(value, canonical_bytes(value))
            except ValueError as error:
                yield Problem(where=where, reason=_printable(str(error)))
                continue
            yield Row(index, value, where, None, known_hash)
    except ValueError as error:
        yield Problem(
            where=path.name,
            reason=_printable(f"{error}{f', after row {index}' if index >= 0 else ''}"),
        )
        return
    if index < 0:
        yield Problem(where=path.name, reason="the file is empty, expected rows")


def _shape(path: Path) -> Shape:
    """What the start of the file says it is. A bare bracket opens one value over many lines."""
    with open_plain(path) as file:
        head = read_up_to(file, HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
        cut = len(head) >= HEAD_BYTES - len(codecs.BOM_UTF8)
        if not head.strip() and cut:
            return "lines"  # nothing but white space so far: pass over it line by line
    lines = [line.strip() for line in head.lstrip().split(b"\n", LINES_TO_LOOK_AT)]
    if cut and len(lines) == 1:  # the first line goes on past the head
        return (
            "list" if head.lstrip().startswith(b"[") and not _opens_with_message(head) else "lines"
        )
    first, *others = [line for line in lines if line] or [b""]
    if not first:
        return "empty"
    if others and first not in (b"[", b"{") and (_is_whole(first) or _is_named_lines(path, first)):
        return "lines"
    if first.startswith(b"["):
        return "lines" if first != b"[" and others and _is_whole(others[0]) else "list"
    if first != b"{" and any(map(_is_whole, others)):
        return "lines or document"
    return "document" if first.startswith(b"{") else "foreign"


def _is_named_lines(path: Path, first: bytes) -> bool:
    return plain_suffix(path) in (".jsonl", ".ndjson") and not (
        first.startswith(b"[") and first.endswith(b",")
    )


def _opens_with_message(head: bytes) -> bool:
    text = head.decode("utf-8", "replace").lstrip()
    try:
        return is_message(
            json.JSONDecoder().raw_decode(text, len(text) - len(text[1:].lstrip()))[0]
        )
    except (ValueError, RecursionError):
        return False


def _is_whole(line: bytes) -> bool:
    """Whether a line is a whole object or list."""
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _lines(file: BinaryIO, first: bool) -> Iterator[bytes | None]:
    """The lines of a stream, None for one that is too long to hold. The first of a file may begin with a mark."""
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(HEAD_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line.removeprefix(codecs.BOM_UTF8) if first else line
        first = False


def _item(value: Any) -> str | None:
    """What the row calls itself, for the list of problems."""
    item = (
        value.get("item_id", value.get("task_id", value.get("id")))
        if isinstance(value, dict)
        else None
    )
    return _printable(str(item)) if isinstance(item, str | int) else None


def _printable(text: str) -> str:
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
