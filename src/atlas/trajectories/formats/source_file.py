"""A file to import. It is opened once, recognized, and read and hashed in one pass."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.records import Problem
from atlas.trajectories.formats.containers import container_of
from atlas.trajectories.formats.read_rows import read_rows
from atlas.trajectories.formats.rows import SourceRow

BUFFER_BYTES = 1 << 20
START_BYTES = 400


class SourceFile:
    """An open file, for formats. Use it in a `with`.

    Attributes:
        path: for readers that open the file themselves; others use `file`.
        name: what people call the file, as seen from the folder that was given.
        file: the bytes as they are on disk, at any position; `seek` first.
        start: the first bytes.
        container: the container that the first bytes indicate.
        ignored: paths within rows that the user leaves out, for `settle`.
    """

    def __init__(self, path: Path, name: str | None = None, ignored: tuple[str, ...] = ()) -> None:
        self.path = path
        self.ignored = ignored
        self.name = path.name if name is None else name
        self._hashed = _HashedFile(path)
        self.file = io.BufferedReader(self._hashed, BUFFER_BYTES)
        self.start = self.file.read(START_BYTES)
        self.file.seek(0)
        self.container = container_of(self.start)
        self._first: deque[SourceRow | Problem] = deque()
        self._rest = read_rows(self.file, self.container, self.name)

    def rows(self) -> Iterator[SourceRow | Problem]:
        """The rows of the file; can be called once. A row that cannot be decoded is a problem."""
        while self._first:
            yield self._first.popleft()
        yield from self._rest

    def first_rows(self) -> Iterator[SourceRow | Problem]:
        """The first rows, to recognize the format; `rows` yields them again without a read."""
        for row in self._rest:
            self._first.append(row)
            yield row

    def digest(self) -> str:
        """SHA-256 of the whole file, including parts that were not read."""
        return self._hashed.digest()

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._hashed.release()


class _HashedFile(io.RawIOBase):
    """A file whose bytes are hashed as they are read: each once, in the order of the file."""

    def __init__(self, path: Path) -> None:
        # Closed by release().
        self._file = path.open("rb", buffering=0)
        self._sha256 = hashlib.sha256()
        self._num_hashed = 0
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = self._file.seek(offset, whence)
        return self._position

    def readinto(self, buffer: Any) -> int:
        size = self._file.readinto(buffer) or 0
        start, self._position = self._position, self._position + size
        if start <= self._num_hashed < self._position:
            self._sha256.update(memoryview(buffer)[self._num_hashed - start : size])
            self._num_hashed = self._position
        return size

    def digest(self) -> str:
        self._file.seek(self._num_hashed)
        while chunk := self._file.read(BUFFER_BYTES):
            self._sha256.update(chunk)
            self._num_hashed += len(chunk)
        return self._sha256.hexdigest()

    def release(self) -> None:
        """Close the file for good; `close`, which wrappers call, leaves it open for `digest`."""
        self._file.close()
