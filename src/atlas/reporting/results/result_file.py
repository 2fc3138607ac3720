"""A file of results: what it begins with, and its rows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from atlas.errors import DataError
from atlas.reporting.results.archive import Archive
from atlas.reporting.results.json_parts import (
    MAX_PART_CHARS,
    JsonText,
    decode_line,
    not_utf8,
    read_elements,
    read_members,
)

Shape = Literal["archive", "object", "list", "lines", "csv", "other"]
START_BYTES = 1 << 16
# Members of an object that is looked at to recognize its format.
MEMBERS_TO_LOOK_AT = 40
LONG_LISTS = ("samples", "simulations", "tasks")
DELIMITERS = ",;"
MAX_LINE_CHARS = 16 << 20
CSV_SUFFIXES = (".csv", ".tsv")


class ResultFile:
    """A file with its place, for formats.

    Attributes:
        path: the file.
        name: how messages call it.
        arm: the arm that it was given for; a table may hold several.
    """

    def __init__(self, path: Path, name: str, arm: str) -> None:
        self.path, self.name, self.arm = path, name, arm

    @cached_property
    def shape(self) -> Shape:
        """What kind of file it is, by its first bytes; a table by its suffix."""
        with self.path.open("rb") as file:
            start = file.read(START_BYTES)
        if start.startswith(b"PK"):
            return "archive"
        if self.path.suffix.lower() in CSV_SUFFIXES:
            return "csv"
        start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
        if start.startswith(b"["):
            return "list"
        if not start.startswith(b"{"):
            return "other"
        return "object" if self._is_one_object(start) else "lines"

    @cached_property
    def first(self) -> Mapping[str, Any]:
        """The first row of lines or of a list, or the first members of an object.

        The first long list of an object is shown as empty, and nothing after it.

        Raises:
            DataError: it cannot be read.
        """
        row: Any = {}
        match self.shape:
            case "lines":
                row = next(self.rows(), (None, {}))[1]
            case "list":
                with self.path.open("rb") as file:
                    row = next(read_elements(JsonText(file, self.name)), {})
            case "object":
                row = self._first_members()
        return row if isinstance(row, dict) else {}

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of a CSV file; none of any other."""
        if self.shape != "csv":
            return ()
        with self._open_text() as file:
            return tuple(name for name in _reader(file, self.name).fieldnames or () if name)

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The names of the members of an archive; none of any other file."""
        if self.shape != "archive":
            return ()
        with Archive(self.path, self.name) as archive:
            return tuple(archive.names)

    def rows(self) -> Iterator[tuple[str, Any]]:
        """The rows of JSON Lines, of a JSON list or of a CSV file, each with its place.

        Raises:
            DataError: a row cannot be read.
        """
        match self.shape:
            case "lines" | "object":
                yield from self._lines()
            case "list":
                with self.path.open("rb") as file:
                    text = JsonText(file, self.name)
                    for number, row in enumerate(read_elements(text), start=1):
                        yield f"{self.name} row {number}", row
                    text.end()
            case "csv":
                yield from self._csv_rows()

    def parts(self, *in_parts: str) -> Iterator[tuple[str, Any]]:
        """The members of a JSON object; lists under the keys `in_parts` element by element.

        Raises:
            DataError: a member cannot be read.
        """
        with self.path.open("rb") as file:
            text = JsonText(file, self.name)
            yield from read_members(text, in_parts)
            text.end()

    def beside(self, name: str) -> Mapping[str, Any]:
        """The JSON object in a file of the same folder; an empty one if there is none."""
        file = self.path.parent / name
        try:
            if not file.is_file() or file.stat().st_size > MAX_PART_CHARS:
                return {}
            value = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def _is_one_object(self, start: bytes) -> bool:
        """Whether the first line does not hold a whole object, or nothing follows it."""
        with self.path.open("rb") as file:
            line = b"\n"
            while line and not line.strip():
                line = file.readline(MAX_PART_CHARS)
            rest = file.read(START_BYTES).strip()
        goes_on = not rest or rest.startswith((b",", b"}", b"]"))
        return goes_on or not line.rstrip().endswith(b"}")

    def _first_members(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with self.path.open("rb") as file:
            text = JsonText(file, self.name)
            text.take("{")
            while text.peek() == '"' and len(found) < MEMBERS_TO_LOOK_AT:
                key = text.value()
                text.take(":")
                # These may be most of the file.
                if key in LONG_LISTS and text.peek() == "[":
                    found[key] = []
                    break
                found[key] = text.value()
                if text.peek() == ",":
                    text.take(",")
        return found

    def _lines(self) -> Iterator[tuple[str, Any]]:
        with self.path.open("rb") as file:
            if self.shape == "object":
                text = JsonText(file, self.name)
                yield f"{self.name} row 1", text.value()
                text.end()
                return
            number = 0
            while line := file.readline(MAX_PART_CHARS + 1):
                number += 1
                if line.strip():
                    where = f"{self.name} line {number}"
                    yield where, decode_line(line, where)

    def _csv_rows(self) -> Iterator[tuple[str, Any]]:
        with self._open_text() as file:
            reader = _reader(file, self.name)
            try:
                for row in reader:
                    where = f"{self.name} line {reader.line_num}"
                    if None in row:
                        raise DataError(
                            f"{where}: more cells than columns. Quote cells that hold the "
                            "delimiter."
                        )
                    # A column without a name, such as the index of a data frame.
                    row.pop("", None)
                    if None in row.values():
                        raise DataError(
                            f"{where}: fewer cells than columns. Fill the row; if it is the last "
                            "one, the file was cut off: get it again."
                        )
                    yield where, row
            except UnicodeDecodeError as error:
                raise DataError(f"{self.name}: {not_utf8(error)}.") from None
            except csv.Error as error:
                where = f"{self.name} line {reader.line_num}"
                raise DataError(f"{where}: not a row of a CSV file: {error}.") from None

    def _open_text(self) -> io.TextIOWrapper:
        return self.path.open(encoding="utf-8-sig", newline="")


def _reader(file: io.TextIOWrapper, name: str) -> csv.DictReader[str]:
    try:
        head = file.readline(START_BYTES)
        file.seek(0)
        delimiter = "\t" if "\t" in head else max(DELIMITERS, key=head.count)
        lines = _bounded_lines(file, name)
        # Python's own limit is less than a transcript in a cell.
        csv.field_size_limit(MAX_LINE_CHARS)
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: {not_utf8(error)}.") from None
    except csv.Error as error:
        raise DataError(f"{name}: not a CSV file: {error}.") from None
    return reader


def _bounded_lines(file: io.TextIOWrapper, name: str) -> Iterator[str]:
    while line := file.readline(MAX_LINE_CHARS):
        if len(line) == MAX_LINE_CHARS:
            raise DataError(f"{name}: a line of more than {MAX_LINE_CHARS >> 20} MiB.")
        yield line
