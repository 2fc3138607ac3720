"""Runs a program, and ends it when the standard input closes: so no server outlives atlas.

    python guard.py PROGRAM ARGUMENT …

A process that is killed closes its pipes. The program has a process group of its own, which is
ended as a whole: servers start further processes. This file imports nothing of atlas, because it is
run as a script.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

CLOSING_SECONDS = 10.0


def main(command: list[str]) -> None:
    """Run `command` until it ends, the input closes, or this process is asked to end."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_leave_with, args=[process], daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: _end_with(process))
    while sys.stdin.buffer.read(1):
        pass
    _end_with(process)


def _leave_with(process: subprocess.Popen[bytes]) -> None:
    """End the guard when the program ends by itself, with its status."""
    status = process.wait()
    _signal_group(process, signal.SIGKILL)
    os._exit(status if status >= 0 else 128 - status)


def _end_with(process: subprocess.Popen[bytes]) -> None:
    """End the program and everything that it started, then the guard."""
    _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + CLOSING_SECONDS
    while time.monotonic() < deadline and _has_group(process):
        time.sleep(0.05)
    _signal_group(process, signal.SIGKILL)
    os._exit(0)


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
