"""Reads input at a terminal: single keys without Enter, or lines of text."""

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
    """The source of a person's answers."""

    def key(self) -> str:
        """The next key; `END` at the end of input."""
        ...

    def line(self, question: str) -> str:
        """A line of text, without its end."""
        ...


@contextmanager
def terminal_keyboard(console: Console) -> Iterator[Keyboard]:
    """Read from the terminal and restore it afterwards. ConfigError if stdin is not a terminal."""
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
