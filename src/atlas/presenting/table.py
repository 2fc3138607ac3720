"""The one table of reports and comparisons, shown on a page, in Markdown and on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from atlas.presenting.wording import DASH
from atlas.terminal.visible_text import one_line

if TYPE_CHECKING:
    from rich.table import Table as RichTable

# A table with more rows than this is folded on a page.
LONG = 24

Tone = Literal["", "good", "bad", "caution", "muted"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell: its text, a smaller note beside it (usually an interval), and its tone.

    `link` is where the text leads in a document, as a relative or absolute URL.
    """

    text: str
    note: str = ""
    tone: Tone = ""
    link: str = ""

    @property
    def plain(self) -> str:
        """The cell as plain text; a note that is not an interval in brackets gets parentheses."""
        note = self.note if not self.note or self.note.startswith("[") else f"({self.note})"
        return f"{self.text} {note}".strip()


@dataclass(frozen=True, slots=True)
class TableRow:
    """A table row; its first cell is the row heading.

    `mark` is an index into the page's list of marks (an arm's color and shape).
    """

    cells: tuple[Cell, ...]
    mark: int | None = None


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows under a common heading, such as a split. With an empty title, no heading is shown."""

    title: str
    rows: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption.

    All columns hold numbers, except the first one and those in `text_columns`. A compact table uses
    a small font. A table of details is folded on a page, as is a long one.
    """

    caption: str
    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]
    text_columns: frozenset[int] = frozenset()
    compact: bool = False
    is_detail: bool = False

    @property
    def num_rows(self) -> int:
        return sum(len(group.rows) for group in self.groups)

    @property
    def is_empty(self) -> bool:
        """Whether no row has anything beside its heading."""
        return all(_is_unknown(cell) for row in self._rows for cell in row.cells[1:] or row.cells)

    @property
    def is_folded(self) -> bool:
        """Whether a page shows only its caption at first."""
        return self.is_detail or self.num_rows > LONG

    @property
    def _rows(self) -> Iterator[TableRow]:
        return (row for group in self.groups for row in group.rows)

    def without_unknown_columns(self) -> Table:
        """The table without columns in which nothing is known; the first two always stay."""
        columns = range(len(self.columns))
        kept = [
            column
            for column in columns
            if column < 2 or not all(_is_unknown(row.cells[column]) for row in self._rows)
        ]

        def shorten(row: TableRow) -> TableRow:
            return replace(row, cells=tuple(row.cells[column] for column in kept))

        return replace(
            self,
            columns=tuple(self.columns[column] for column in kept),
            groups=tuple(
                replace(group, rows=tuple(map(shorten, group.rows))) for group in self.groups
            ),
            text_columns=frozenset(
                place for place, column in enumerate(kept) if column in self.text_columns
            ),
        )

    def is_text(self, column: int) -> bool:
        """Whether a column holds text and is left-aligned."""
        return column == 0 or column in self.text_columns


def _is_unknown(cell: Cell) -> bool:
    return cell.text in ("", DASH) and not cell.note


def plain_table(
    caption: str,
    columns: Iterable[str],
    rows: Iterable[TableRow],
    text_columns: Iterable[int] = (),
    compact: bool = False,
    is_detail: bool = False,
) -> Table:
    """A table whose rows are not grouped."""
    groups = (RowGroup("", tuple(rows)),)
    return Table(caption, tuple(columns), groups, frozenset(text_columns), compact, is_detail)


def text_row(texts: Iterable[str], mark: int | None = None) -> TableRow:
    """A row of plain texts."""
    return TableRow(tuple(map(Cell, texts)), mark)


def text_table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table of plain texts; the first two columns are names, the others are numbers."""
    return plain_table(caption, columns, map(text_row, rows), text_columns=[1])


def terminal_table(table: Table) -> RichTable:
    """The table for a terminal. Markup and control characters in cells are shown as text."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    def text(given: str) -> Text:
        return Text(one_line(given))

    shown = RichTable(
        title=text(table.caption), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    for place, column in enumerate(table.columns):
        shown.add_column(text(column), justify="left" if table.is_text(place) else "right")
    for group in table.groups:
        if group.title and group.rows:
            shown.add_row(text(group.title))
        for row in group.rows:
            shown.add_row(*(text(cell.plain) for cell in row.cells))
    return shown
