"""SHA-256 of a stream of bytes, computed while the stream is read or written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

# A shorter chunk is done before a thread has started.
CHUNK_FOR_THREAD = 1 << 18


class StreamDigest:
    """Hashes one chunk after the other, a long one in a thread: hashing needs no interpreter.

    Args:
        write: where each chunk goes too, if anywhere.
    """

    def __init__(self, write: Callable[[bytes], object] | None = None) -> None:
        self._write = write
        self._sha256 = hashlib.sha256()
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def update(self, chunk: bytes) -> None:
        """Take a chunk. One at most is under way, so memory holds two."""
        self.wait()
        if len(chunk) < CHUNK_FOR_THREAD:
            self._take(chunk)
        else:
            self._pending = self._thread.submit(self._take, chunk)

    def wait(self) -> None:
        """Return when all chunks are hashed and written. What a write raised is raised here."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def hexdigest(self) -> str:
        """The digest of all chunks so far."""
        self.wait()
        return self._sha256.hexdigest()

    def _take(self, chunk: bytes) -> None:
        if self._write is not None:
            self._write(chunk)
        self._sha256.update(chunk)
