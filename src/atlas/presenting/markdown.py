"""Parts of a Markdown document. Text from records is escaped: it cannot make tables or links."""

from __future__ import annotations

import re
from collections.abc import Iterable

from atlas.presenting.table import Cell, Table
from atlas.presenting.wording import MAX_TEXT
from atlas.terminal.visible_text import one_line


def escape_markdown(text: str) -> str:
    """One line of text in which HTML, Markdown and table borders are escaped."""
    line = one_line(text, MAX_TEXT)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", line)
    # An interval stays readable; it cannot be a link.
    line = re.sub(r"\\\[([−+\d., ]+)\\\](?![(:\[\\])", r"[\1]", line)
    # A bare address does not become a link.
    line = re.sub(r"(?i)\b(https?|ftp|mailto):", r"\1&#58;", line)
    line = re.sub(r"(?i)\bwww\.", "www&#46;", line)
    # The line does not become a list or a heading.
    return re.sub(
        r"^(#+|[-+=]|\d+[.)])(?=\s|$|[-=])",
        lambda marker: marker[1][:-1] + "\\" + marker[1][-1],
        line,
    )


def markdown_list(items: Iterable[str]) -> list[str]:
    """Lines of a list, with an empty line after it; nothing without items."""
    lines = [f"- {escape_markdown(item)}" for item in items]
    return [*lines, ""] if lines else []


def markdown_plot(title: str, caption: str, path: str) -> list[str]:
    """Lines of a plot in a file beside the document, with its caption."""
    return [f"![{escape_markdown(title)}]({path})", "", f"*{escape_markdown(caption)}*", ""]


def markdown_table(table: Table) -> list[str]:
    """Lines of the caption, the header and the rows; the heading of a group becomes a row."""
    columns = range(len(table.columns))
    lines = [
        f"**{escape_markdown(table.caption)}**",
        "",
        _line(map(escape_markdown, table.columns)),
        _line(":--" if table.is_text(column) else "--:" for column in columns),
    ]
    for group in table.groups:
        if group.title and group.rows:
            lines.append(_line([f"**{escape_markdown(group.title)}**", *[""] * len(columns[1:])]))
        lines += [_line(map(_cell, row.cells)) for row in group.rows]
    return [*lines, ""]


def _cell(cell: Cell) -> str:
    if not cell.link:
        return escape_markdown(cell.plain)
    note = cell.plain.removeprefix(cell.text)
    return f"[{escape_markdown(cell.text)}]({cell.link}){escape_markdown(note)}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
