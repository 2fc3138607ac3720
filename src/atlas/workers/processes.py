"""Child processes that ignore Ctrl-C, can be stopped, and end when the parent ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

# SIGTERM is not used, because a process pool sends it to its own processes.
_STOP = signal.SIGUSR1


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Processes started inside the block never get Ctrl-C; the parent gets it after the block."""
    # Otherwise the first process would start the tracker, which unblocks Ctrl-C.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, _STOP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_with_parent() -> None:
    """Called in a child process: end when the parent ends, even if it was killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_wait_and_leave, args=(parent,), daemon=True).start()


def stop_when_told() -> None:
    """Called in a child process: from now on `stop` raises KeyboardInterrupt in it, once."""
    signal.signal(_STOP, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {_STOP})


@dataclass
class _Jobs:
    """Whether this child process has a job, and whether it has to stop."""

    is_working: bool = False
    is_told: bool = False


_jobs = _Jobs()


def stop_jobs_when_told() -> None:
    """Called in a child process that does jobs: from now on `tell_to_stop` ends its job."""
    signal.signal(_STOP, _end_job)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {_STOP})


def is_told_to_stop() -> bool:
    """Whether this child process has to stop."""
    return _jobs.is_told


@contextmanager
def work_until_told() -> Iterator[None]:
    """A job of this child process: `tell_to_stop` raises KeyboardInterrupt in it."""
    _jobs.is_working = True
    try:
        yield
    finally:
        _jobs.is_working = False


def tell_to_stop(processes: Sequence[BaseProcess]) -> None:
    """End the jobs of child processes; the processes themselves go on."""
    for process in processes:
        if process.pid is not None and process.is_alive():
            # It may have ended just now.
            with suppress(ProcessLookupError):
                os.kill(process.pid, _STOP)


def stop(processes: Sequence[BaseProcess], patience: float = 60.0) -> None:
    """Stop child processes; kill those that are still running after `patience` seconds."""
    tell_to_stop(processes)
    deadline = time.monotonic() + patience
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _end_job(*_: object) -> None:
    _jobs.is_told = True
    if _jobs.is_working:
        _jobs.is_working = False
        raise KeyboardInterrupt


def _interrupt(*_: object) -> None:
    signal.signal(_STOP, signal.SIG_IGN)
    raise KeyboardInterrupt


def _wait_and_leave(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
