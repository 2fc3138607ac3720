"""Runs the stages of an experiment, one after another or in parallel processes.

Small models gain little from a second core, so it is faster to run several stages with one core
each. Each stage has its own process, which frees all its memory and can be stopped separately.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from atlas.config import Config
from atlas.errors import RunError
from atlas.store.run_folders import Manifest, read_manifest
from atlas.terminal.progress import Shown, open_rows, report_to
from atlas.workers.processes import interrupts_held_back, leave_with_parent, stop, stop_when_told

THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of an experiment.

    Attributes:
        out: the run folder of the stage.
        make: a module-level function, so that another process can import it. It makes the run
            folder from `arguments` and `out`.
        needs: run folders of the stages that must be finished first.
    """

    title: str
    out: Path
    make: Callable[..., Manifest]
    arguments: tuple[Any, ...] = ()
    needs: tuple[Path, ...] = ()

    @property
    def config(self) -> Config:
        """The settings of the stage: its first argument."""
        config = self.arguments[0]
        assert isinstance(config, Config)
        return config

    def run(self) -> Manifest:
        """Make the run folder or resume it. A finished stage returns at once."""
        return self.make(*self.arguments, self.out)

    @property
    def is_finished(self) -> bool:
        with suppress(RunError):
            return bool(read_manifest(self.out))
        return False


def run_stages(stages: Sequence[Stage], processes: int = 1) -> Iterator[tuple[Stage, Manifest]]:
    """Run all stages, at most `processes` at a time; yield each with its manifest when it ends.

    Args:
        stages: each stage comes after the stages that it needs.
        processes: 1 runs the stages in this process.

    Raises:
        RunError: the process of a stage was killed.
        Exception: what a stage raised. The other stages are stopped; their finished work is kept.
    """
    if processes == 1:
        for stage in stages:
            yield stage, stage.run()
        return
    todo, done = list(stages), set[Path]()
    folders = {stage.out for stage in stages}
    with _Pool(processes) as pool:
        while todo or pool.is_busy:
            for stage in [stage for stage in todo if done >= folders.intersection(stage.needs)]:
                # A finished stage is only checked against its inputs, which needs no process.
                if stage.is_finished:
                    todo.remove(stage)
                    done.add(stage.out)
                    yield stage, stage.run()
                elif pool.has_room:
                    todo.remove(stage)
                    pool.start(stage)
            for stage, manifest in pool.wait():
                done.add(stage.out)
                yield stage, manifest


@dataclass(slots=True)
class _Worker:
    stage: Stage
    process: SpawnProcess


class _Pool:
    """The running processes and their progress bars."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Connection, _Worker] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Pool:
        self._rows = self._stack.enter_context(open_rows())
        return self

    def __exit__(self, *_: object) -> None:
        stop([worker.process for worker in self._workers.values()])
        self._stack.close()

    @property
    def is_busy(self) -> bool:
        return bool(self._workers)

    @property
    def has_room(self) -> bool:
        return len(self._workers) < self._size

    def start(self, stage: Stage) -> None:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(stage, sender))
        with interrupts_held_back(), _threads_each(self._size):
            process.start()
        sender.close()
        self._rows.show(str(stage.out), Shown(stage.title, 0, None, ""))
        self._workers[receiver] = _Worker(stage, process)

    def wait(self) -> Iterator[tuple[Stage, Manifest]]:
        """Wait until at least one running stage has ended, and yield those that have."""
        ended: list[tuple[Stage, Manifest]] = []
        while self._workers and not ended:
            for connection in wait(list(self._workers)):
                assert isinstance(connection, Connection)
                worker = self._workers[connection]
                message = _receive(connection, worker)
                if isinstance(message, Shown):
                    title = f"{worker.stage.title}: {message.title}"
                    self._rows.show(str(worker.stage.out), replace(message, title=title))
                elif isinstance(message, str):
                    self._print(worker, message)
                else:
                    del self._workers[connection]
                    connection.close()
                    worker.process.join()
                    self._rows.remove(str(worker.stage.out))
                    if isinstance(message, BaseException):
                        raise message
                    ended.append((worker.stage, message))
        yield from ended

    def _print(self, worker: _Worker, message: str) -> None:
        folder = str(worker.stage.out)
        self._rows.say(message if folder in message else f"{folder}: {message}")


def _receive(connection: Connection, worker: _Worker) -> Shown | str | Manifest | BaseException:
    try:
        message: Shown | str | Manifest | BaseException = connection.recv()
        return message
    except EOFError:
        worker.process.join()
        return RunError(
            f"the process of stage '{worker.stage.title}' was killed (status "
            f"{worker.process.exitcode}), possibly because of missing memory. Run the same command "
            "again with fewer processes to resume."
        )


@contextmanager
def _threads_each(size: int) -> Iterator[None]:
    """Give each process started inside its share of the cores, unless OMP_NUM_THREADS is set."""
    if THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = str(max(1, (os.cpu_count() or 1) // size))
    try:
        yield
    finally:
        del os.environ[THREADS]


# The functions below run in the process of the stage.


def _work(stage: Stage, connection: Connection) -> None:
    """Run one stage. The last message is its manifest, or the exception that ended it."""
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
    """The exception if it can be pickled, else an exception with its traceback as text."""
    error.add_note(f"in stage '{stage.title}':\n{traceback.format_exc()}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"stage '{stage.title}' failed: {traceback.format_exc()}")
    return error
