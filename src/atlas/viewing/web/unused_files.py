"""What the viewer keeps in its cache, and removes if it was not used for a month.

All of it is made again when it is needed. The time of change of a file or folder is when it was
last used.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

SECONDS_UNUSED = 30 * 24 * 3600


def mark_used(path: Path) -> None:
    """Keep a file or folder for another month."""
    os.utime(path)


def remove_unused(folder: Path, pattern: str) -> None:
    """Remove what fits the pattern and was not used for a month, with locks and logs beside it."""
    for path in folder.glob(pattern):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > SECONDS_UNUSED:
                for one in folder.glob(f"{path.name}*"):
                    if one.is_dir():
                        shutil.rmtree(one)
                    else:
                        one.unlink(missing_ok=True)
