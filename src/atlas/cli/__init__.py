"""The command line.

An error of a user is one message and exit status 2. Ctrl-C stops a command cleanly; the same
command resumes it.
"""

from __future__ import annotations

import errno
import sys

# Each of these modules adds its commands to `app`.
from atlas.cli import data, running, selecting, tuning
from atlas.cli.app import app, fail
from atlas.errors import AtlasError, RankError

__all__ = ["app", "data", "main", "running", "selecting", "tuning"]

# The exit status that typer gives to Ctrl-C.
INTERRUPTED = 130
PATH_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Entry point of the command `atlas`."""
    kept = "Finished work is kept; run the same command to resume."
    if sys.argv[1:2] == ["import"]:
        kept = "An interrupted import keeps nothing; run the same command to start again."
    try:
        app()
    except RankError:
        sys.exit(2)
    except AtlasError as error:
        fail(f"error: {error}", 2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            fail(f"stopped. {kept}", INTERRUPTED)
        raise
    except OSError as error:
        if error.errno in DISK_FULL_ERRORS:
            fail(f"error: the disk is full. Free some space. {kept}", 2)
        if error.errno not in PATH_ERRORS:
            raise
        what = f"{error.filename} cannot be opened or created ({error.strerror})"
        fail(f"error: {what}. Check the path and its permissions.", 2)
