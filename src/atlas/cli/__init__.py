"""The command line: each command checks its config, calls one function, and ends with what came in, what went out and
what was left out. Errors of ours are one message and exit status 2; Ctrl-C stops cleanly, and the next run goes on.
"""

from __future__ import annotations

import errno
import sys

from atlas.cli import data, selecting, tuning
from atlas.cli.app import app, fail
from atlas.errors import AtlasError, RankError

__all__ = ["app", "data", "main", "selecting", "tuning"]  # each module brings its commands

INTERRUPTED = 130  # the status that typer gives to Ctrl-C


def main() -> None:
    """Entry point of the command `atlas`."""
    try:
        app()
    except RankError:
        sys.exit(2)
    except AtlasError as error:
        fail(f"error: {error}", 2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            fail(f"stopped. {_what_is_kept()}", INTERRUPTED)
        raise
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT):
            fail(
                f"error: {error.filename} cannot be opened or made ({error.strerror}). Check the path and your rights to it.",
                2,
            )
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fail(f"error: the disk is full. Make room. {_what_is_kept()}", 2)


def _what_is_kept() -> str:
    """What becomes of a command that was cut short."""
    if sys.argv[1:2] == ["import"]:
        return "An import keeps nothing unfinished; run the same command again to start over."
    return "Finished work is kept; run the same command again to go on."
