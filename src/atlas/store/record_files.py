"""Files of records, one JSON object a line, and small files written whole or not at all.

While a run is under way its records grow in `<name>.jsonl.partial`, one flushed line each, in the order of their
completion; a torn last line (kill -9, full disk) is cut when the run goes on. `seal` puts them into their final order
and renames atomically, so that a file without `.partial` is always whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from atlas.errors import DataError, RunError

RecordT = TypeVar("RecordT", bound=BaseModel)


class RecordLog(Generic[RecordT]):
    """An append-only file of records, keyed; one flushed line each, so that finished work survives kill -9."""

    def __init__(self, path: Path, kind: type[RecordT], key: Callable[[RecordT], str]) -> None:
        self.path = path
        self._kind = kind
        self._key = key
        self._partial = path.with_name(path.name + ".partial")
        self._offsets: dict[str, int] = {}
        self._file: BinaryIO | None = None
        if self.sealed:
            self._partial.unlink(
                missing_ok=True
            )  # left by a kill between the two last acts of seal()
            return
        self._file = open(self._partial, "a+b")  # noqa: SIM115 - closed by seal() or close()
        self._recover()

    @property
    def sealed(self) -> bool:
        """Whether all records are in and in order."""
        return self.path.exists()

    @property
    def done(self) -> frozenset[str]:
        """The keys of the records that are safe on disk (those of a sealed file are not counted)."""
        return frozenset(self._offsets)

    def records(self) -> Iterator[RecordT]:
        """The records that are safe on disk, in the order of their completion; nothing may be appended meanwhile."""
        assert self._file is not None, "a sealed log is read with read_records"
        for offset in sorted(self._offsets.values()):
            self._file.seek(offset)
            yield self._kind.model_validate_json(self._file.readline())

    def append(self, record: RecordT) -> None:
        assert self._file is not None, "a sealed log takes no more records"
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(to_json(record) + b"\n")
        self._file.flush()
        self._offsets[self._key(record)] = offset

    def seal(self, order: Iterable[str]) -> None:
        """Write the records of `order` (keys; absent ones are passed over) to the final file, and drop the partial one."""
        if self.sealed:
            return
        assert self._file is not None
        temporary = self.path.with_name(self.path.name + ".tmp")
        with open(temporary, "wb") as final:
            for key in order:
                if key in self._offsets:
                    self._file.seek(self._offsets[key])
                    final.write(self._file.readline())
            _flush_to_disk(final)
        os.replace(temporary, self.path)
        self.close()
        self._partial.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _recover(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        end = 0
        for offset, line in _whole_lines(self._file):
            end = offset + len(line)
            with suppress(
                ValueError
            ):  # a whole line that is no such record is asked for again; those after it are kept
                self._offsets[self._key(self._kind.model_validate_json(line))] = offset
        self._file.truncate(end)


class RecordWriter:
    """One JSONL file of records that come in their final order, written whole or not at all. To be used in a `with`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(path.name + ".tmp")
        self._file = open(self._temporary, "wb", buffering=1 << 20)  # noqa: SIM115 - closed by __exit__

    def write(self, record: BaseModel | bytes) -> None:
        """A record, or its line as `to_json` made it."""
        self._file.write((record if isinstance(record, bytes) else to_json(record)) + b"\n")

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                _flush_to_disk(self._file)
        if kind is None:
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink(missing_ok=True)


def to_json(record: BaseModel) -> bytes:
    """A record as the bytes of its line."""
    return record.__pydantic_serializer__.to_json(record)


def write_records(path: Path, records: Iterable[BaseModel]) -> None:
    """All records to one JSONL file, atomically."""
    with RecordWriter(path) as file:
        for record in records:
            file.write(record)


def read_records(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """The records of a JSONL file that this package wrote, one at a time.

    Raises:
        DataError: the file is missing or a line is not such a record; the message names file and line.
    """
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield kind.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors()[0]
                    place = ".".join(str(part) for part in first["loc"]) or "the line"
                    raise DataError(
                        f"{path} line {number}: {place}: {first['msg']}, expected a {kind.__name__}. Remove the folder, make the run again."
                    ) from None
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist, though its run folder says finished. Remove the folder and make the run again."
        ) from None


def read_log(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """The records that are safe in the log of a run, finished or not, which is only looked at; lines that are none are passed over.

    Raises:
        DataError: the finished file holds a line that is no such record.
    """
    partial = path.with_name(path.name + ".partial")
    if path.exists():
        yield from read_records(path, kind)
    elif partial.exists():
        with open(partial, "rb") as file:
            for _, line in _whole_lines(file):
                with suppress(ValueError):
                    yield kind.model_validate_json(line)


def _whole_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a growing file with their offsets, but for a last one that an interruption tore."""
    offset = 0
    while (line := file.readline()).endswith(b"\n"):
        yield offset, line
        offset += len(line)


def write_text(path: Path, text: str) -> None:
    """One text file, atomically."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        _flush_to_disk(file)
    os.replace(temporary, path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hold_lock(lock: Path, path: Path) -> BinaryIO:
    """The lock file of `path`, held until it is closed: one process writes at a time.

    Raises:
        RunError: another process holds it.
    """
    file = open(lock, "ab")  # noqa: SIM115 - held by the caller
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RunError(
            f"{path} is being written by another process. Wait for it, or choose another --out."
        ) from None
    return file


def _flush_to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
