"""Processes of an import: `a large file of lines -> items`, in the order of the lines.

The parent reads the file in chunks of lines. It converts a chunk itself whenever the next result is
not ready, so also while workers start: two processes are one worker. A worker is not a child of
multiprocessing, which would run the caller's script once more. It is a command that gets chunks on
its standard input and ends with it, so also when the parent was killed. Ctrl-C does not reach it.

The parent has no threads for this: a thread gets the interpreter only every 5 ms from a busy one.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from atlas.errors import RunError
from atlas.kinds import Choice
from atlas.records import Problem
from atlas.trajectories.formats.base import FORMAT, RowFormat
from atlas.trajectories.formats.read_rows import holds_lines, line_chunks, rows_of_lines
from atlas.trajectories.formats.rows import Item, as_line
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine

# Below, a worker takes longer to start than it saves.
LARGE_FILE_BYTES = 16 << 20
CHUNK_BYTES = 1 << 18
# Chunks in memory, per process.
BYTES_AHEAD = 2 << 20
# The largest pipe that Linux gives to everyone: with several chunks in it a worker never waits.
PIPE_BYTES = 1 << 20
# What a message takes in a pipe besides its own bytes, at most: partly filled pages.
MESSAGE_BYTES = 1 << 14
# The parent's own work is about a fifth of all, so more would wait for it.
MAX_PROCESSES = 8
# To look for cycles after every few hundred objects costs a fifth of the time.
OBJECTS_PER_COLLECTION = 100_000
WORKER = "from atlas.trajectories.import_workers import serve; serve()"


class ImportWorkers:
    """Starts workers for the first large file, and ends them with the `with`."""

    def __init__(self, num_processes: int | None) -> None:
        self._num_workers = (num_processes or min(os.cpu_count() or 1, MAX_PROCESSES)) - 1
        self._stack = ExitStack()
        self._workers: list[_Worker] = []

    def are_worth_it(self, source: SourceFile, format_: Any) -> bool:
        """Whether a file is large, and the format reads it row by row."""
        return (
            self._num_workers > 0
            and source.container == "plain"
            and source.path.stat().st_size >= LARGE_FILE_BYTES
            and isinstance(format_, RowFormat)
            and type(format_).read is RowFormat.read
            and holds_lines(source.file, source.name)
        )

    def convert(self, source: SourceFile, format_: Choice) -> Iterator[Item]:
        """What `read` of the format gives, for a file that is worth it.

        Raises:
            RunError: a worker was killed.
        """
        while len(self._workers) < self._num_workers:
            self._workers.append(self._stack.enter_context(_Worker()))
        chunks = (
            _Chunk(format_, source.name, source.ignored, first_index, lines)
            for first_index, lines in line_chunks(source.file, CHUNK_BYTES)
        )
        jobs: deque[_Job] = deque()
        # Those that nobody has begun.
        free: deque[_Job] = deque()
        while True:
            while sum(map(_size, jobs)) < BYTES_AHEAD * (self._num_workers + 1):
                if (chunk := next(chunks, None)) is None:
                    break
                jobs.append(_Job(chunk))
                free.append(jobs[-1])
            for worker in self._workers:
                worker.exchange(free)
            if not jobs:
                return
            first = jobs[0]
            if first.items is not None:
                yield from jobs.popleft().items or ()
            elif free:
                mine = free.popleft()
                mine.items = list(_convert(mine.chunk))
            else:
                next(worker for worker in self._workers if first in worker.jobs).receive()

    def __enter__(self) -> ImportWorkers:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)


class _Chunk(NamedTuple):
    """Whole lines of a file, with all that a worker has to know about them."""

    format: Choice
    file: str
    ignored: tuple[str, ...]
    first_index: int
    lines: bytes


class _Job:
    """A chunk, and what it holds as soon as that is known."""

    def __init__(self, chunk: _Chunk) -> None:
        self.chunk = chunk
        self.items: list[Item] | Iterator[Item] | None = None


class _Worker:
    """A process seen from its parent; `jobs` are those that it has not answered, in order."""

    def __init__(self) -> None:
        self.jobs: deque[_Job] = deque()
        self._is_ready = False
        # Its modules are those that this process finds. Ctrl-C reaches only our own group.
        self._process = subprocess.Popen(
            (sys.executable, "-P", "-c", WORKER),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        streams = (self._process.stdin, self._process.stdout)
        self._requests, self._answers = (Connection(os.dup(stream.fileno())) for stream in streams)
        self._room = min(_enlarge(stream.fileno()) for stream in streams)

    def exchange(self, free: deque[_Job]) -> None:
        """Receive what is answered, and send the chunks that the pipe has room for.

        To send more could wait for the worker, while it waits for the parent to receive.
        """
        while (self.jobs or not self._is_ready) and self._answers.poll():
            self.receive()
        while self._is_ready and free and (not self.jobs or _size(free[0]) <= self._room):
            job = free.popleft()
            self.jobs.append(job)
            self._room -= _size(job)
            try:
                self._requests.send_bytes(pickle.dumps(job.chunk, protocol=5))
            except BrokenPipeError:
                raise _killed() from None

    def receive(self) -> None:
        """Wait for the next answer; the first says that the worker has started."""
        try:
            answer = self._answers.recv_bytes()
        except (EOFError, OSError):
            raise _killed() from None
        if not self._is_ready:
            self._is_ready = True
            return
        job = self.jobs.popleft()
        self._room += _size(job)
        # Empty: an error of the format, which shall be raised here.
        job.items = _unpack(answer) if answer else _convert(job.chunk)

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        # It holds nothing that is worth a clean end.
        self._process.kill()
        self._process.communicate()
        self._requests.close()
        self._answers.close()


def serve() -> None:
    """The life of a worker: it answers chunks until the parent is gone."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    requests, answers = Connection(0), Connection(os.dup(1))
    # What a format prints is not an answer.
    os.dup2(2, 1)
    with suppress(EOFError, BrokenPipeError):
        answers.send_bytes(b"")
        while True:
            chunk = pickle.loads(requests.recv_bytes())
            try:
                answer = _pack(_convert(chunk))
            except Exception:
                answer = b""
            answers.send_bytes(answer)


def _convert(chunk: _Chunk) -> Iterator[Item]:
    rows = rows_of_lines(io.BufferedReader(io.BytesIO(chunk.lines)), chunk.file, chunk.first_index)
    reader: RowFormat = FORMAT.make(chunk.format)
    return reader.convert_all(rows, chunk.ignored)


def _pack(items: Iterator[Item]) -> bytes:
    """Items as plain tuples, which take half the time of their classes."""
    plain = [
        (item.where, item.reason, item.item) if isinstance(item, Problem) else tuple(item)
        for item in map(as_line, items)
    ]
    return pickle.dumps(plain, protocol=5)


def _unpack(answer: bytes) -> Iterator[Item]:
    for fields in pickle.loads(answer):
        if len(fields) == len(TrajectoryLine._fields):
            yield TrajectoryLine._make(fields)
        else:
            where, reason, item = fields
            yield Problem(where=where, reason=reason, item=item)


def _enlarge(pipe: int) -> int:
    """Make a pipe as large as may be; its room for several messages, 0 if that is unknown."""
    try:
        return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (AttributeError, OSError):
        return 0


def _size(job: _Job) -> int:
    return len(job.chunk.lines) + MESSAGE_BYTES


def _killed() -> RunError:
    return RunError(
        "a worker process of the import was killed, perhaps because of missing memory. "
        "Run the command again, with processes=1 if memory is short."
    )
