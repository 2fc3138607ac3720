"""Simulators of all worlds of a program in one shared Java process.

The process starts with the first simulator and ends when the last one is closed. If it dies, its
simulators raise EpisodeError, and the next one that is opened starts a new process.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from atlas.environments.java.process import JavaProcess, JavaProgram
from atlas.errors import EpisodeError

# A little less than the default time limit of a step.
LOCK_SECONDS = 100.0

_lock = threading.Lock()
_running: dict[JavaProgram, JavaProcess] = {}


class Simulator:
    """One simulator in a shared Java process."""

    def __init__(self, program: JavaProgram) -> None:
        self._process: JavaProcess | None = _join(program)
        try:
            # Making one may draw from the static state of the program.
            with self.exclusively():
                self._java: Any = self._process.make()
        except BaseException:
            self.close()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it can be called."""
        return self._process is not None and self._process.is_alive

    def call(self, method: str, *arguments: Any) -> Any:
        """The result of a method of the simulator.

        Raises:
            EpisodeError: the process ended, or the Java code raised an exception.
        """
        assert self._process is not None, "the simulator is closed"
        return self._process.call(self._java, method, *arguments)

    def call_static(self, name: str, method: str, *arguments: Any) -> Any:
        """The result of a static method, or of one of an object of Scala (`package.Name$`)."""
        assert self._process is not None, "the simulator is closed"
        return self._process.call(name, method, *arguments)

    @contextmanager
    def exclusively(self) -> Iterator[dict[str, Any]]:
        """While it lasts, no other simulator of the process is in such a block.

        It gives what is known of the static state of the process. A process that does not come
        back from one other block in time hangs, and is ended. Many blocks may take longer together.

        Raises:
            EpisodeError: the process was ended.
        """
        process = self._process
        assert process is not None, "the simulator is closed"
        turn = process.num_turns
        while not process.lock.acquire(timeout=LOCK_SECONDS):
            if process.num_turns == turn:
                process.kill()
                said = "the Java process hung; it was ended."
                raise EpisodeError(f"{process.program.package}: {said}")
            turn = process.num_turns
        try:
            process.num_turns += 1
            yield process.statics
        finally:
            process.lock.release()

    def close(self) -> None:
        """Free it; the process ends with its last simulator. Twice is fine."""
        process, self._process = self._process, None
        java, self._java = getattr(self, "_java", None), None
        if process is not None:
            if java is not None:
                process.forget(java)
            del java
            _quit(process)


def _join(program: JavaProgram) -> JavaProcess:
    with _lock:
        process = _running.get(program)
        if process is None or not process.is_alive:
            process = _running[program] = JavaProcess(program)
        process.num_users += 1
        return process


def _quit(process: JavaProcess) -> None:
    with _lock:
        process.num_users -= 1
        if process.num_users > 0:
            return
        if _running.get(process.program) is process:
            del _running[process.program]
    process.stop()


def _stop_all() -> None:
    with _lock:
        processes = list(_running.values())
        _running.clear()
    for process in processes:
        process.stop()


def _leave_all() -> None:
    """In a forked child: the Java processes belong to the parent."""
    global _lock
    _lock = threading.Lock()
    for process in _running.values():
        process.leave()
    _running.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_leave_all)
