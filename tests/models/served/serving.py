"""Settings of the player `served` with the small server, and what that left behind."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).with_name("small_server.py")


def settings(notes: Path, arguments: str = "", **more: Any) -> dict[str, Any]:
    command = f"{sys.executable} {PROGRAM} --port {{port}} --name {{name}} --notes {notes}"
    # A model is named, as in the command of a real server.
    command += f" --model {{model}} {arguments}"
    return {"command": command, "start_seconds": 60.0, **more}


def started(notes: Path) -> list[list[str]]:
    """The arguments of each server that was started."""
    return [json.loads(file.read_text()) for file in sorted(notes.glob("*.json"))]


def wait_until_gone(notes: Path, seconds: float = 20.0) -> list[int]:
    """The processes of servers that still run after a while, which should be none."""
    pids = [int(file.stem) for file in notes.iterdir() if file.stem.isdigit()]
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if _runs(pid)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return left


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        # A zombie has ended.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return sys.platform != "linux"
