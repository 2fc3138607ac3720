"""The command `atlas`, also as `python -m atlas` for launchers (torchrun, accelerate).

This file imports next to nothing, so that Ctrl-C is handled from the first moment on.
"""

from __future__ import annotations

import sys

# The exit status of a command that was stopped by Ctrl-C, as in shells.
INTERRUPTED = 130


def main() -> None:
    """Entry point of the command `atlas`."""
    try:
        from atlas.cli import main as run

        run()
    except KeyboardInterrupt:
        _stop()
    except Exception as error:
        # Ctrl-C during an import may end as an error of that import.
        if not _is_interrupted(error):
            raise
        _stop()


def _is_interrupted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _stop() -> None:
    sys.stderr.write("stopped. Run the same command to resume.\n")
    sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
