"""Text of trajectories for a terminal: what could move its cursor, change its colours or be taken for markup is made visible first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# C0 and C1 controls, line and paragraph separators, and the marks that reverse the direction of writing.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with control characters written as escapes; newlines and tabs stay.

    >>> visible("a\\x1b[31m\\n")
    'a\\\\x1b[31m\\n'
    """
    return _CONTROLS.sub(
        lambda match: match[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n")
    )


def one_line(text: str, limit: int) -> str:
    """The text in one line of at most `limit` characters."""
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shortened(text: str, max_lines: int, max_chars: int) -> str:
    """The first lines of a text, and how much was left out."""
    text = visible(text)
    lines = text.splitlines() or [""]
    kept = "\n".join(lines[:max_lines])[:max_chars]
    left = len(text) - len(kept)
    return kept if left <= 1 else f"{kept}\n… {left:,} more characters"


def print_whole(console: Console, table: Table) -> None:
    """In a narrow terminal or a pipe lines go on beyond the edge: a number cut to "0.…" says nothing, a torn id finds nothing."""
    from rich.measure import Measurement

    narrow = console.width
    console.width = 100_000
    console.width = max(narrow, Measurement.get(console, console.options, table).maximum)
    console.print(table, soft_wrap=True)
    console.width = narrow
