r"""Sanitizes untrusted text: trajectories, ids, reasons, answers of servers.

Characters that a reader cannot see, or that change how other text is shown, are written as escapes
(`\u202e`). They are control characters, zero-width and bidirectional characters, variation
selectors, Unicode tags, separators of lines other than a newline, lone surrogates, private use and
unassigned characters. Terminal, errors, Markdown and HTML all use these functions. Syntax of
Markdown and HTML is escaped in addition.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PLAIN = "\x20-\x7e"
_OTHER = re.compile(f"[^{_PLAIN}]")
_NOT_LAYOUT = re.compile(f"[^{_PLAIN}\n\t]")
# Letters and marks that Unicode calls "default ignorable": they are invisible.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
# No-break spaces stay: they keep a number and its unit on one line.
_BLANKS = re.compile("[^\\S\u00a0\u202f]+")


def visible(text: str) -> str:
    r"""The text with invisible and control characters as escapes; newlines and tabs stay.

    >>> visible("a\x1b[31m\n")
    'a\\x1b[31m\n'
    """
    return _NOT_LAYOUT.sub(lambda match: _spell(match[0]), text.replace("\r\n", "\n"))


def visible_line(text: str) -> str:
    """The text on one line with unchanged spaces; newlines and tabs are escaped, too."""
    return _OTHER.sub(lambda match: _spell(match[0]), text)


def one_line(text: str, limit: int | None = None) -> str:
    """The text on one line of at most `limit` characters, each run of blanks as one blank."""
    line = _BLANKS.sub(" ", visible(text)).strip(" ")
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def shortened(text: str, max_lines: int, max_chars: int) -> str:
    """The first lines of a text, followed by how much was left out."""
    text = visible(text)
    lines = text.splitlines() or [""]
    kept = "\n".join(lines[:max_lines])[:max_chars]
    left = len(text) - len(kept)
    return kept if left <= 1 else f"{kept}\n… {left:,} more characters"


def print_text(console: Console, text: str, style: str = "") -> None:
    """Print a text that is safe to show. Lines are wrapped on a terminal, but not in a pipe."""
    from rich.text import Text

    console.print(Text(text, style=style), soft_wrap=True)


def print_whole(console: Console, table: Table) -> None:
    """Print a table without cutting cells; on a narrow terminal its lines exceed the width."""
    from rich.measure import Measurement

    narrow = console.width
    console.width = 100_000
    console.width = max(narrow, Measurement.get(console, console.options, table).maximum)
    console.print(table, soft_wrap=True)
    console.width = narrow


@lru_cache(maxsize=4096)
def _spell(character: str) -> str:
    is_seen = character.isprintable() or unicodedata.category(character) == "Zs"
    if is_seen and not _IGNORABLE.match(character):
        return character
    return character.encode("unicode_escape").decode()
