"""Runs a program, and ends it when the standard input closes: so no server outlives atlas.

    python guard.py PROGRAM ARGUMENT …

A process that is killed closes its pipes. Servers start further processes, which are ended, too:
the program's process group, and on Linux everything that descends from the guard, whatever group or
session it moved to. This file imports nothing of atlas, because it is run as a script.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

CLOSING_SECONDS = 10.0
# Of prctl(2).
PDEATHSIG, SUBREAPER = 1, 36
IS_LINUX = sys.platform == "linux"


def main(command: list[str]) -> None:
    """Run `command` until it ends, the input closes, or this process is asked to end."""
    # What the program starts in the background becomes a child of the guard.
    _control(SUBREAPER, 1)
    guard = os.getpid()

    def begin() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        # A guard that is killed takes the program with it.
        _control(PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)

    # A request to end waits until there is something to be ended.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=begin
    )
    signal.signal(signal.SIGTERM, lambda *_: _end_with(process))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    threading.Thread(target=_leave_with, args=[process], daemon=True).start()
    while sys.stdin.buffer.read(1):
        pass
    _end_with(process)


def _control(option: int, value: int) -> None:
    if IS_LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _leave_with(process: subprocess.Popen[bytes]) -> None:
    """End the guard when the program ends by itself, with its status."""
    status = process.wait()
    _kill_rest(process)
    os._exit(status if status >= 0 else 128 - status)


def _end_with(process: subprocess.Popen[bytes]) -> None:
    """End the program and everything that it started, then the guard."""
    _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + CLOSING_SECONDS
    while time.monotonic() < deadline and _has_group(process):
        time.sleep(0.05)
    _kill_rest(process)
    os._exit(0)


def _kill_rest(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process, signal.SIGKILL)
    # A process that is killed hands its children to the guard, so they are looked for again.
    for _ in range(10):
        found = _descendants(os.getpid())
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            break
        time.sleep(0.02)


def _descendants(pid: int) -> list[int]:
    """The running processes below this one (Linux)."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat") if IS_LINUX else ():
        with suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything.
            state, parent = file.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(file.parent.name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def _has_group(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    main(sys.argv[1:])
