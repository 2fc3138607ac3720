"""`python -m tests.training.atlas_and_threads`: the command line, then its threads of gloo."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

from atlas.cli import main


def print_threads_of_gloo() -> None:
    tasks = Path("/proc/self/task").iterdir()
    names = sorted(name for task in tasks if "gloo" in (name := (task / "comm").read_text()))
    # In one call: ranks share this stream, and lines in parts would mix.
    os.write(
        sys.stderr.fileno(), f"threads of gloo at exit: {[one.strip() for one in names]}\n".encode()
    )


# Registered first, so it is called last.
atexit.register(print_threads_of_gloo)
if __name__ == "__main__":
    main()
