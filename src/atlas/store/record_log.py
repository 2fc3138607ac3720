"""The growing file of an unfinished run, which survives kill -9.

Records grow in `<name>.jsonl.partial`, one flushed line each, in the order of their completion. A
torn last line (kill -9, full disk) is cut when the run continues. `seal` puts the records into
their final order and renames the file atomically: a file without `.partial` is always whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Generic

from atlas.store.record_files import RecordT, read_records, to_json, written_whole


class RecordLog(Generic[RecordT]):
    """An append-only file of records, each under a key."""

    def __init__(self, path: Path, kind: type[RecordT], key: Callable[[RecordT], str]) -> None:
        self.path = path
        self._kind = kind
        self._key = key
        self._partial = path.with_name(path.name + ".partial")
        self._offsets: dict[str, int] = {}
        self._file: BinaryIO | None = None
        if self.sealed:
            # A process that is killed at the end of seal() leaves this file.
            self._partial.unlink(missing_ok=True)
            return
        # Closed by seal() or close().
        self._file = self._partial.open("a+b")
        self._recover()

    @property
    def sealed(self) -> bool:
        """Whether all records are written and in their final order."""
        return self.path.exists()

    @property
    def done(self) -> frozenset[str]:
        """The keys of the records that are safe on disk; empty for a sealed file."""
        return frozenset(self._offsets)

    def records(self) -> Iterator[RecordT]:
        """The records that are safe on disk, in the order of their completion.

        Nothing may be appended while it is iterated.
        """
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
        """Write the records in the `order` of their keys to the final file; drop the partial one.

        Keys without a record are skipped.
        """
        if self.sealed:
            return
        assert self._file is not None
        with written_whole(self.path) as final:
            for key in order:
                if key in self._offsets:
                    self._file.seek(self._offsets[key])
                    final.write(self._file.readline())
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
            # A complete line that is not a valid record is skipped and made again; later lines are
            # kept.
            with suppress(ValueError):
                self._offsets[self._key(self._kind.model_validate_json(line))] = offset
        self._file.truncate(end)


def read_log(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """Read the records in the log of a run, finished or not, without changing it.

    In an unfinished log, invalid lines are skipped.

    Raises:
        DataError: the finished file holds a line that is not such a record.
    """
    partial = path.with_name(path.name + ".partial")
    if path.exists():
        yield from read_records(path, kind)
    elif partial.exists():
        with partial.open("rb") as file:
            for _, line in _whole_lines(file):
                with suppress(ValueError):
                    yield kind.model_validate_json(line)


def _whole_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a growing file with their offsets, without a torn last one."""
    offset = 0
    while (line := file.readline()).endswith(b"\n"):
        yield offset, line
        offset += len(line)
