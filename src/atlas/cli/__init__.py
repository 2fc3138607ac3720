"""The command line.

An error of a user is one message and exit status 2. Ctrl-C stops a command cleanly; the same
command resumes it.
"""

from __future__ import annotations

import errno
import sys

# Each of these modules adds its commands to `app`.
from atlas.cli import auditing, data, listing, running, selecting, serving, tuning, viewing
from atlas.cli.app import app, fail
from atlas.errors import AtlasError, DependencyError, RankError
from atlas.extras import missing_module
from atlas.terminal.output import tolerate_encodings

__all__ = [
    "app",
    "auditing",
    "data",
    "listing",
    "main",
    "running",
    "selecting",
    "serving",
    "tuning",
    "viewing",
]

# The exit status that typer gives to Ctrl-C.
INTERRUPTED = 130
PATH_ERRORS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.EEXIST,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EIO,
)
OPEN_FILES_ERRORS = (errno.EMFILE, errno.ENFILE)
DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Entry point of the command `atlas`."""
    kept = "Finished work is kept; run the same command to resume."
    if sys.argv[1:2] in (["import"], ["audit"]):
        kept = f"An interrupted {sys.argv[1]} keeps nothing; run the same command to start again."
    tolerate_encodings()
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
    except (ImportError, OSError) as error:
        if (message := _explain(error, kept)) is None:
            raise
        fail(f"error: {message}", 2)


def _explain(error: ImportError | OSError, kept: str) -> str | None:
    """The message for a package, a disk or a path; None for a fault of atlas."""
    if isinstance(error, ImportError):
        missing = _missing_package(error)
        return None if missing is None else str(missing)
    if error.errno in DISK_FULL_ERRORS:
        return f"the disk is full. Free some space. {kept}"
    if error.errno == errno.EFBIG:
        return f"a file grew beyond the limit of the system. Raise it (ulimit -f). {kept}"
    if error.errno in OPEN_FILES_ERRORS:
        return f"too many files are open. Raise the limit (ulimit -n 4096). {kept}"
    if error.errno not in PATH_ERRORS:
        return None
    what = f"{error.filename} cannot be opened or created ({error.strerror})"
    return f"{what}. Check the path and its permissions."


def _missing_package(error: BaseException | None) -> DependencyError | None:
    """The package of an extra whose absence led to `error`, if it is one."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and (found := missing_module(error.name or "")):
            return found
        error = error.__cause__ or error.__context__
    return None
