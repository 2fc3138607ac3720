"""Waits for a process that a test started; one that hangs is ended, with the stack of each part."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

# A loaded machine is several times slower than a quiet one.
PATIENCE_SECONDS = 600.0


def wait_for(process: subprocess.Popen[str], seconds: float = PATIENCE_SECONDS) -> tuple[str, str]:
    """What the process has printed: standard output and errors, "" for one that is not a pipe.

    Processes that were started with PYTHONFAULTHANDLER=1 print their stacks if they do not end.

    Raises:
        AssertionError: it has not ended after `seconds`. It and its children have been killed.
    """
    try:
        return _texts(process.communicate(timeout=seconds))
    except subprocess.TimeoutExpired:
        family = [*_descendants(process.pid), process.pid]
        for number in (signal.SIGABRT, signal.SIGKILL):
            for pid in family:
                _send(pid, number)
            time.sleep(1)
        _, errors = _texts(process.communicate())
        raise AssertionError(f"not ended after {seconds:g} s\n{errors[-8000:]}") from None


def _texts(printed: tuple[str | None, str | None]) -> tuple[str, str]:
    return printed[0] or "", printed[1] or ""


def _descendants(pid: int) -> list[int]:
    """Children first by depth, the deepest first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (*_descendants(child), child)]


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
