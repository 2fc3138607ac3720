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
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def print_whole(console: Console, table: Table, num_names: int = 1) -> None:
    """Print a table in parts that fit the width, without cutting a cell.

    Each part has the first `num_names` columns and as many others as fit. Where not even one fits,
    each row becomes a list.
    """
    from dataclasses import replace

    from rich.measure import Measurement
    from rich.table import Table as RichTable

    def part(indices: Sequence[int]) -> RichTable:
        chosen = copy(table)
        chosen.columns = [
            replace(column, _index=place, overflow="fold", no_wrap=column.justify == "right")
            for place, column in enumerate(table.columns[index] for index in indices)
        ]
        return chosen

    def fits(indices: Sequence[int]) -> bool:
        needed = Measurement.get(console, console.options.update(width=10**6), part(indices))
        return needed.maximum <= console.width

    names = list(range(min(num_names, len(table.columns))))
    others = [index for index in range(len(table.columns)) if index not in names]
    if not all(map(fits, [[*names, index] for index in others] or [names])):
        _print_rows(console, table)
        return
    parts: list[list[int]] = [names]
    for index in others:
        if parts[-1] != names and not fits([*parts[-1], index]):
            parts.append(list(names))
        parts[-1] = [*parts[-1], index]
    for number, indices in enumerate(parts):
        shown = part(indices)
        if number:
            shown.title = None
        console.print(shown)


def _print_rows(console: Console, table: Table) -> None:
    """Print each row of a table as a list of its cells; no line is wider than the console."""
    from rich.text import Text

    def text(cell: object) -> Text:
        return cell if isinstance(cell, Text) else console.render_str(str(cell))

    if table.title:
        console.print(text(table.title))
    columns = [(text(column.header), list(column.cells)) for column in table.columns]
    for row in range(table.row_count):
        for place, (heading, cells) in enumerate(columns):
            line = text(cells[row])
            if place and line.plain:
                line = Text.assemble("  ", heading, ": ", line)
            if line.plain:
                console.print(line, overflow="fold")


@lru_cache(maxsize=4096)
def _spell(character: str) -> str:
    is_seen = character.isprintable() or unicodedata.category(character) == "Zs"
    if is_seen and not _IGNORABLE.match(character):
        return character
    return character.encode("unicode_escape").decode()
