"""A lock for a run folder or a file, so that only one process writes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from atlas.errors import RunError


def hold_lock(lock: Path, path: Path) -> FileLock:
    """Take the lock file `lock` for writing `path`, until `release()` or the end of the process.

    The system frees the lock of a killed process. The lock file itself stays: in a run folder it
    marks a run that was killed before it wrote its manifest.

    Raises:
        RunError: another process holds the lock.
    """
    # A soft lock would remain after a killed process, so a file system without locks is an error.
    held = FileLock(lock, thread_local=False, preserve_lock_file=True, fallback_to_soft=False)
    try:
        held.acquire(blocking=False)
    except Timeout:
        if not lock.exists():
            # Where no file can be created, the library waits for a removed lock to come back.
            raise RunError(f"no file can be created at {lock}. Choose another --out.") from None
        raise RunError(
            f"{path} is being written by another process. Wait for it, or choose another --out."
        ) from None
    return held


@contextmanager
def locked_file(path: Path) -> Iterator[None]:
    """Let one process at a time write the file `path` and the files that belong to it.

    Raises:
        RunError: another process is in such a block.
    """
    lock = path.with_name(f".{path.name}.lock")
    held = hold_lock(lock, path)
    try:
        yield
    finally:
        # The file is removed before the release, so a process that has opened it notices.
        lock.unlink(missing_ok=True)
        held.release()
