"""Rows of a JSON or JSON Lines file, decoded strictly, one bad row at a time: `file -> rows and problems`.

Which of the two a file is, its content says: several lines that are each a whole value are JSON Lines. A JSON file is
one list of rows, one object (a row of its own), or one list of chat messages (a row of its own too).
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from atlas.records import Problem, Trajectory


@dataclass(frozen=True, slots=True)
class Row:
    """One decoded row; `where` names it for people, `index` counts from 0 as `Source.row` does."""

    index: int
    value: Any
    where: str

    @property
    def content_hash(self) -> str:
        """12 hex digits of the decoded content: the same row in another file or place has the same.

        Raises:
            UnicodeEncodeError: a text holds half of a surrogate pair, which JSON can spell and no record can hold.
        """
        text = json.dumps(self.value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class BadRowError(Exception):
    """A row that is no trajectory; caught by `convert_rows`, which alone knows the row's place."""

    def __init__(self, reason: str, message: int | None = None) -> None:
        super().__init__(reason)
        self.message = message


def convert_rows(path: Path, convert: Callable[[Row], Trajectory]) -> Iterator[Trajectory | Problem]:
    """Each row of the file through `convert`; what it cannot convert becomes a problem that names row and message."""
    for row in read_rows(path):
        if isinstance(row, Problem):
            yield row
            continue
        item = str(row.value["item_id"]) if isinstance(row.value, dict) and isinstance(row.value.get("item_id"), str | int) else None
        try:
            yield convert(row)
        except BadRowError as error:
            place = row.where if error.message is None else f"{row.where}, message {error.message}"
            yield Problem(where=place, reason=str(error), item=_printable(item))
        except RecursionError:
            yield Problem(where=row.where, reason="not usable: nested too deeply", item=_printable(item))
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            yield Problem(where=row.where, reason=f"a text holds {half!r}, half of a surrogate pair", item=_printable(item))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            yield Problem(where=row.where, reason=f"not a trajectory: {place}: {first['msg']}", item=_printable(item))


def read_rows(path: Path) -> Iterator[Row | Problem]:
    """The rows of a file in order. What cannot be decoded is a problem: its line in JSON Lines, the whole file in JSON."""
    name = path.name
    with open(path, "rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield Problem(where=name, reason="the file is UTF-16, expected UTF-8. Convert it, with iconv say.")
    elif start.startswith((b"\x1f\x8b", b"PK", b"\x28\xb5\x2f\xfd")):
        yield Problem(where=name, reason="the file is compressed, expected JSON text. Unpack it first.")
    elif _is_json_lines(path):
        yield from _rows_of_lines(path)
    else:
        yield from _rows_of_json(path)


def is_message(value: Any) -> bool:
    """Whether a decoded value looks like one chat message of some dialect."""
    return isinstance(value, dict) and ("role" in value or "from" in value) and "messages" not in value and "conversations" not in value


def _rows_of_lines(path: Path) -> Iterator[Row | Problem]:
    for index, line in enumerate(_lines(path)):
        where = f"{path.name} row {index} (line {index + 1})"
        if not line.strip():
            continue
        try:
            yield Row(index, _decode(line.strip()), where)
        except ValueError as error:
            yield Problem(where=where, reason=str(error))


def _rows_of_json(path: Path) -> Iterator[Row | Problem]:
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        yield Problem(where=path.name, reason="the file is empty, expected rows of JSON")
        return
    try:
        value = _decode(data)
    except ValueError as error:
        if any(map(_is_whole, _first_lines(path)[1:])):  # JSON Lines whose first line is broken: the others are good
            yield from _rows_of_lines(path)
        else:
            yield Problem(where=path.name, reason=str(error))
        return
    if value == []:
        yield Problem(where=path.name, reason="the file holds an empty list, expected rows")
        return
    rows = [value] if not isinstance(value, list) or all(is_message(element) for element in value) else value
    for index, row in enumerate(rows):
        yield Row(index, row, f"{path.name} row {index}")


def _is_json_lines(path: Path) -> bool:
    """The name says so, or the first line is a whole value and not the only line. A bare bracket opens one value over many lines."""
    heads = _first_lines(path)
    if len(heads) < 2 or heads[0] in (b"[", b"{"):
        return False
    return path.suffix in (".jsonl", ".ndjson") or _is_whole(heads[0])


def _first_lines(path: Path) -> list[bytes]:
    return list(islice((line.strip() for line in _lines(path) if line.strip()), 2))


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(_decode(line), dict | list)
    except ValueError:
        return False


def _lines(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            yield line.removeprefix(codecs.BOM_UTF8) if number == 0 else line


def _decode(data: bytes) -> Any:
    """JSON as the standard has it. Raises ValueError with a reason for people."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}. Save the file as UTF-8.") from None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}" if "\n" in text.strip() else f"column {error.colno}"
        raise ValueError(f"not JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise ValueError("not usable JSON: nested too deeply") from None


def _refuse_constant(constant: str) -> Any:
    raise ValueError(f"not JSON: {constant} is no JSON number")


def _printable(text: str | None) -> str | None:
    return text and re.sub(r"[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
