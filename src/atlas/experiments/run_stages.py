"""The stages of an experiment, each when what it needs is there: one after another here, or side by side in processes of their own.

Small models gain little from a second processor core each (two threads that share busy cores lose much), so several stages on one
core each are the faster way to use a machine. A process per stage gives all memory back and can be stopped alone.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from atlas.errors import RunError
from atlas.store.run_folders import MANIFEST_FILE, Manifest, read_manifest
from atlas.terminal.progress import Shown, columns, report_to
from atlas.terminal.visible_text import visible
from atlas.workers.processes import interrupts_held_back, leave_with_parent, stop, stop_when_told

THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of an experiment.

    Attributes:
        out: its run folder.
        make: a function of a module (another process can import it) that makes the run folder from `arguments` and `out`.
        needs: the run folders of other stages that must be finished before.
    """

    title: str
    out: Path
    make: Callable[..., Manifest]
    arguments: tuple[Any, ...] = ()
    needs: tuple[Path, ...] = ()

    def run(self) -> Manifest:
        """Make it, or go on with it; a finished one returns at once."""
        return self.make(*self.arguments, self.out)

    @property
    def is_finished(self) -> bool:
        with suppress(RunError):
            return (self.out / MANIFEST_FILE).exists() and bool(read_manifest(self.out))
        return False


def run_stages(stages: Sequence[Stage], processes: int = 1) -> Iterator[tuple[Stage, Manifest]]:
    """Make all stages, at most `processes` at a time, and give each with its manifest as it ends.

    Raises:
        RunError: a stage's process was killed.
        Exception: what a stage raised; the others are stopped then, and what they have done is kept.
    """
    if processes == 1:
        for stage in stages:  # they stand in an order in which each comes after what it needs
            yield stage, stage.run()
        return
    todo, done = list(stages), set[Path]()
    folders = {stage.out for stage in stages}
    with _Workshop(processes) as workshop:
        while todo or workshop.is_busy:
            for stage in [stage for stage in todo if done >= folders.intersection(stage.needs)]:
                if (
                    stage.is_finished
                ):  # to look whether it still belongs to its inputs needs no process
                    todo.remove(stage)
                    done.add(stage.out)
                    yield stage, stage.run()
                elif workshop.has_room:
                    todo.remove(stage)
                    workshop.start(stage)
            for stage, manifest in workshop.wait():
                done.add(stage.out)
                yield stage, manifest


@dataclass(slots=True)
class _Worker:
    stage: Stage
    process: SpawnProcess
    row: TaskID


class _Workshop:
    """The processes at work, and what they show."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Connection, _Worker] = {}
        console = Console(stderr=True)
        self._progress = Progress(
            *columns(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),  # lines for a pipe must go on reaching it
        )

    def __enter__(self) -> _Workshop:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        stop([worker.process for worker in self._workers.values()])
        self._progress.stop()

    @property
    def is_busy(self) -> bool:
        return bool(self._workers)

    @property
    def has_room(self) -> bool:
        return len(self._workers) < self._size

    def start(self, stage: Stage) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(stage, theirs))
        with interrupts_held_back(), _threads_each(self._size):
            process.start()
        theirs.close()
        self._workers[ours] = _Worker(
            stage, process, self._progress.add_task(stage.title, total=None, note="")
        )

    def wait(self) -> Iterator[tuple[Stage, Manifest]]:
        """Follow the processes until some stages have ended, and give those. At once, if none is at work."""
        ended: list[tuple[Stage, Manifest]] = []
        while self._workers and not ended:
            for connection in wait(list(self._workers)):
                assert isinstance(connection, Connection)
                worker = self._workers[connection]
                message = _receive(connection, worker)
                if isinstance(message, Shown):
                    title = f"{worker.stage.title}: {message.title}"
                    self._progress.update(
                        worker.row,
                        description=title,
                        completed=message.done,
                        total=message.total,
                        note=message.note,
                    )
                elif isinstance(message, str):
                    line = (
                        message
                        if str(worker.stage.out) in message
                        else f"{worker.stage.out}: {message}"
                    )
                    self._progress.console.print(
                        visible(line), markup=False, highlight=False, soft_wrap=True
                    )
                else:
                    self._leave(connection)
                    if isinstance(message, BaseException):
                        raise message
                    ended.append((worker.stage, message))
        yield from ended

    def _leave(self, connection: Connection) -> None:
        worker = self._workers.pop(connection)
        connection.close()
        worker.process.join()
        self._progress.remove_task(worker.row)


def _receive(connection: Connection, worker: _Worker) -> Shown | str | Manifest | BaseException:
    try:
        message: Shown | str | Manifest | BaseException = connection.recv()
    except EOFError:
        worker.process.join()
        return RunError(
            f"the process of stage '{worker.stage.title}' was killed (status {worker.process.exitcode}), for want of memory perhaps. "
            "Run the same command again, with fewer processes: it goes on."
        )
    return message


@contextmanager
def _threads_each(size: int) -> Iterator[None]:
    """Processes started meanwhile share the cores evenly, unless the user has said how many threads there shall be."""
    if THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = str(max(1, (os.cpu_count() or 1) // size))
    try:
        yield
    finally:
        del os.environ[THREADS]


# ---- in the process of a stage ----


def _work(stage: Stage, connection: Connection) -> None:
    """Make one stage; the last thing sent is its manifest or the exception that ended it."""
    leave_with_parent()
    stop_when_told()
    report_to(connection.send)
    try:
        connection.send(stage.run())
    except KeyboardInterrupt:
        return
    except Exception as error:
        connection.send(_portable(error, stage))


def _portable(error: Exception, stage: Stage) -> Exception:
    """The exception if it can travel; its traceback in words if not."""
    error.add_note(f"in stage '{stage.title}':\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"stage '{stage.title}' failed: {traceback.format_exc()}")
    return error
