"""Programs that worlds start, in a Python process that forks."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import Any


def leave_process(process: subprocess.Popen[Any]) -> None:
    """Give up a program of the parent in a forked child, which has copies of its pipes."""
    for pipe in (process.stdin, process.stdout):
        # Not the buffer: a thread of the parent may hold its lock. Not the number of the file:
        # the buffer would close it once more, and then it is that of another file.
        raw = getattr(pipe, "raw", None)
        with suppress(OSError, ValueError):
            if raw is not None:
                raw.close()
    # A child must not wait for a process that is not its own.
    process.returncode = 0
