"""One file on several processors: `lines of a file -> prepared items`, in the order of the file, whatever the number of workers.

A worker is told where lines stand, reads them itself, and gives back what is to be written of them. Each has one batch at a time,
so memory holds a batch or two for each. Workers are plain commands: nothing is forked from a process that may have threads, and
nobody's script is run a second time.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from typing import Any

from atlas.errors import AtlasError
from atlas.trajectories.find_files import SourceFile
from atlas.trajectories.formats.base import ConvertsRows, Format, make_format
from atlas.trajectories.formats.rows import Lines, convert_each, read_batch, read_batches
from atlas.trajectories.prepare import Prepared, Preparer

MIN_BYTES = 128 << 20  # a smaller file is read before the workers are up
OBJECTS_PER_COLLECTION = 100_000  # records hold no cycles, so looking for some after every few hundred only costs time (a fifth, here)
_COMMAND = "import sys; sys.path[:] = sys.argv[1:]; from atlas.trajectories.workers import work; work()"


class Workers:
    """Processes that start with the first file that is worth it. To be used in a `with`."""

    def __init__(self, number: int, preparer: Preparer) -> None:
        self._number = number
        self._preparer = preparer
        self._processes: list[subprocess.Popen[bytes]] = []

    def prepare(self, file: SourceFile) -> Iterator[Prepared]:
        """The items of a file in order."""
        assert isinstance(file.format, str)
        format_ = make_format(file.format)
        batches = self._batches(file, format_)
        return self._preparer.prepare(file, format_.read(file.path)) if batches is None else self._shared(file, batches)

    def _batches(self, file: SourceFile, format_: Format) -> Iterator[Lines] | None:
        """The parts of a file that is worth the company; None if it is read here."""
        alone = self._number < 2 or not isinstance(format_, ConvertsRows) or type(format_).__module__ == "__main__"
        return None if alone or file.path.stat().st_size < MIN_BYTES else read_batches(file.path)

    def _shared(self, file: SourceFile, batches: Iterator[Lines]) -> Iterator[Prepared]:
        if not self._processes:
            self._processes = [_start(self._preparer) for _ in range(self._number)]
        busy: deque[subprocess.Popen[bytes]] = deque()
        for process, first in zip(self._processes, batches, strict=False):
            _send(process, (file, first))
            busy.append(process)
        while busy:
            process = busy.popleft()
            prepared = _receive(process)
            if lines := next(batches, None):
                _send(process, (file, lines))
                busy.append(process)
            yield from prepared

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()


def work() -> None:
    """What a worker does: read tasks from standard input and write what came of them to standard output, until there are no more."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a format prints goes astray no further than to the terminal
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    tasks = sys.stdin.buffer
    try:
        preparer: Preparer = pickle.load(tasks)
        while True:
            file, lines = pickle.load(tasks)
            pickle.dump(_prepare(preparer, file, lines), results, pickle.HIGHEST_PROTOCOL)
            results.flush()
    except EOFError:
        pass


def _prepare(preparer: Preparer, file: SourceFile, lines: Lines) -> list[Prepared] | Exception:
    try:
        format_ = make_format(str(file.format))
        assert isinstance(format_, ConvertsRows)
        convert = format_.convert
        return list(preparer.prepare(file, convert_each(read_batch(file.path, lines), lambda row: convert(row, file.path))))
    except AtlasError as error:
        return AtlasError(str(error))  # some kinds cannot be unpickled
    except Exception:
        return RuntimeError(f"in an import worker:\n{traceback.format_exc()}")


def _start(preparer: Preparer) -> subprocess.Popen[bytes]:
    """A worker in a process group of its own: Ctrl-C is for the one who asks."""
    command = [sys.executable, "-c", _COMMAND, *sys.path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
    _send(process, preparer)
    return process


def _send(process: subprocess.Popen[bytes], task: Any) -> None:
    assert process.stdin is not None
    try:
        pickle.dump(task, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()
    except BrokenPipeError:
        raise _ended(process) from None


def _receive(process: subprocess.Popen[bytes]) -> list[Prepared]:
    assert process.stdout is not None
    try:
        prepared: list[Prepared] | Exception = pickle.load(process.stdout)
    except (EOFError, pickle.UnpicklingError):
        raise _ended(process) from None
    if isinstance(prepared, Exception):
        raise prepared
    return prepared


def _ended(process: subprocess.Popen[bytes]) -> AtlasError:
    process.kill()
    code = process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    return AtlasError(
        f"an import worker {how}, as happens when memory runs out. Import again with fewer workers: --workers 1 is one process."
    )
