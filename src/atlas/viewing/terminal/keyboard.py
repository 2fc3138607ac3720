"""Input of a person at a terminal: one key at a time, without Enter, or a line of text."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console

from atlas.errors import ConfigError

# Ctrl-D, and what a closed terminal returns.
END = "\x04"
ESCAPE = b"\x1b"


class Keyboard(Protocol):
    """Where answers come from."""

    def key(self) -> str:
        """The next key; `END` where no more come."""
        ...

    def line(self, question: str) -> str:
        """A line of text, without its end."""
        ...


@contextmanager
def terminal_keyboard(console: Console) -> Iterator[Keyboard]:
    """The terminal, restored afterwards; a ConfigError if standard input is not a terminal."""
    if not sys.stdin.isatty():
        raise ConfigError(
            "label reads single keys, and standard input is not a terminal. Run it in a terminal, "
            "or write the file of labels by other means."
        )
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    normal = termios.tcgetattr(descriptor)

    class Terminal:
        def key(self) -> str:
            first = os.read(descriptor, 1)
            if first == ESCAPE:
                self._pass_sequence()
            return first.decode("ascii", "replace") or END

        def _pass_sequence(self) -> None:
            """Skip the rest of an arrow key's sequence: ESC [ … final, or ESC O final."""
            introduced = False
            while select.select([descriptor], [], [], 0.01)[0]:
                byte = os.read(descriptor, 1)
                if introduced and b"@" <= byte <= b"~":
                    return
                if not introduced and byte not in (b"[", b"O"):
                    return
                introduced = True

        def line(self, question: str) -> str:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, normal)
            try:
                console.print(question, markup=False, end="")
                line = sys.stdin.readline().rstrip("\n")
                return line.encode("utf-8", "replace").decode("utf-8")
            finally:
                tty.setcbreak(descriptor, termios.TCSADRAIN)

    tty.setcbreak(descriptor, termios.TCSADRAIN)
    try:
        yield Terminal()
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, normal)
