"""Writes files of records (one JSON object per line) and small files atomically."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4
from weakref import finalize

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from atlas.errors import DataError

# Bytes that a writer collects before it writes them.
BUFFER_BYTES = 1 << 20
_TEMPORARY = re.compile(r".+\.[0-9a-f]{32}\.tmp", re.DOTALL)
RecordT = TypeVar("RecordT", bound=BaseModel)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` at the end of the block, or is deleted after an error.

    Its name is its own, so that two processes that write `path` at once never mix their bytes.
    """
    temporary = path.with_name(f"{_start_of_temporary(path.name)}{uuid4().hex[:16]}.tmp")
    try:
        with temporary.open("xb", buffering=BUFFER_BYTES) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(file: Path) -> bool:
    """Whether `written_whole` made the file, and a killed process left it."""
    return _TEMPORARY.fullmatch(file.name) is not None


def remove_temporary(folder: Path, *names: str) -> None:
    """Remove what killed writers of this folder left, or only those of its files `names`.

    Only the holder of the lock may do this.
    """
    starts = tuple(map(_start_of_temporary, names)) or ("",)
    for file in folder.glob("*.tmp"):
        if is_temporary(file) and file.name.startswith(starts):
            file.unlink(missing_ok=True)


def _start_of_temporary(name: str) -> str:
    """What the names of all temporary files of one file begin with, and those of no other file.

    The beginning of the name says what the file is; all of it could be too long.
    """
    return f"{name[:32]}.{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


class RecordWriter:
    """Writes a JSONL file of records that are already in their final order. Use it in a `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._whole = written_whole(path)
        self._sha256 = hashlib.sha256()
        self._lines: list[bytes] = []
        self._num_bytes = 0

    def write(self, record: BaseModel | bytes) -> None:
        """Write a record, or its line from `to_json`."""
        line = record if isinstance(record, bytes) else to_json(record)
        self._lines.append(line)
        self._num_bytes += len(line)
        if self._num_bytes >= BUFFER_BYTES:
            self._flush()

    @property
    def digest(self) -> str:
        """SHA-256 of the file, complete after the end of the `with` block."""
        return self._sha256.hexdigest()

    def _flush(self) -> None:
        chunk = b"\n".join((*self._lines, b""))
        self._sha256.update(chunk)
        self._file.write(chunk)
        self._lines, self._num_bytes = [], 0

    def __enter__(self) -> RecordWriter:
        self._file = self._whole.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if exception[0] is None:
            self._flush()
        self._whole.__exit__(*exception)


def to_json(record: BaseModel) -> bytes:
    """A record as the bytes of its line."""
    return record.__pydantic_serializer__.to_json(record)


def write_records(path: Path, records: Iterable[BaseModel]) -> None:
    """All records to one JSONL file, atomically."""
    with RecordWriter(path) as file:
        for record in records:
            file.write(record)


def read_records(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """The records of a JSONL file that atlas wrote, one at a time.

    Raises:
        DataError: the file is missing or a line is not such a record; the message names the line.
    """
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            yield _parse(line, kind, path, number)


class RecordIndex(Mapping[str, RecordT]):
    """The records of a JSONL file by one of their fields, in file order, read when asked for.

    Memory holds the keys and the places of the lines. The file stays open while the index is in
    use.

    Raises:
        DataError: the file is missing or a line has no such field; when a record is asked for: its
            line is not such a record.
    """

    def __init__(self, path: Path, kind: type[RecordT], field: str) -> None:
        self._path, self._kind = path, kind
        self._file = _open(path)
        finalize(self, self._file.close)
        self._lock = Lock()
        self._last: tuple[str, RecordT | None] = "", None
        # Line number and offset by key.
        self._places: dict[str, tuple[int, int]] = {}
        offset = 0
        for number, line in enumerate(self._file, start=1):
            try:
                key = from_json(line)[field]
            except (ValueError, KeyError, TypeError):
                # Parsing the whole record names the mistake.
                key = getattr(_parse(line, kind, path, number), field)
            self._places[key] = number, offset
            offset += len(line)

    def __getitem__(self, key: str) -> RecordT:
        last, record = self._last
        if record is not None and last == key:
            return record
        number, offset = self._places[key]
        with self._lock:
            self._file.seek(offset)
            line = self._file.readline()
        self._last = key, (record := _parse(line, self._kind, self._path, number))
        return record

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        advice = "Remove the folder and make the run again."
        raise DataError(f"{path} is missing from a finished run folder. {advice}") from None


def _parse(line: bytes, kind: type[RecordT], path: Path, number: int) -> RecordT:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the line"
        raise DataError(
            f"{path} line {number}: {place}: {first['msg']}, "
            f"expected a {kind.__name__}. Remove the folder, make the run again."
        ) from None


def write_text(path: Path, text: str) -> None:
    """One text file, atomically."""
    with written_whole(path) as file:
        file.write(text.encode())


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
