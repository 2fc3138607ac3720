"""Manners of a process that works for another one: it sees no Ctrl-C of its own, stops cleanly when it is told to, and leaves when
the other is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

_STOP = signal.SIGUSR1  # not SIGTERM, which a pool of processes sends to its own


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C (and print no tracebacks): it is the parent's, which gets it a moment later."""
    resource_tracker.ensure_running()  # the first process would start it, and it lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, _STOP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_with_parent() -> None:
    """Called by a child process: it ends when its parent does, which it would otherwise wait for even if that was killed."""
    threading.Thread(target=_wait_and_leave, daemon=True).start()


def stop_when_told() -> None:
    """Called by a child process: from now on `stop` raises KeyboardInterrupt in it, as Ctrl-C would, once."""
    signal.signal(_STOP, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {_STOP})


def stop(processes: Sequence[BaseProcess], patience: float = 60.0) -> None:
    """End child processes: all are told at once, and those that have not ended cleanly within `patience` seconds are killed."""
    for process in processes:
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, _STOP)
    deadline = time.monotonic() + patience
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _interrupt(*_: object) -> None:
    signal.signal(_STOP, signal.SIG_IGN)
    raise KeyboardInterrupt


def _wait_and_leave() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
