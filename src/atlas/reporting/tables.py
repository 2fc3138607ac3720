"""Report -> tables, once for all three places where they are shown: the page, the Markdown and the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from atlas.reporting.report import ArmReport, Comparison, EpisodeCounts, Number, Report
from atlas.reporting.wording import (
    PERCENT,
    VERDICTS,
    clean,
    count,
    decimal,
    decimal_interval,
    p_text,
    percent,
    percent_interval,
    points,
    points_interval,
    split_label,
)

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Tone = Literal["", "good", "bad", "caution", "muted"]
ROLE_LABELS = {"base": "untuned", "reference": "reference", "focus": "", "control": ""}


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place of a table: a text, a smaller note under it (an interval, mostly), and its tone."""

    text: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row; its first cell is its heading. `arm` gives it the colour and the mark of that arm, by position in the report."""

    cells: tuple[Cell, ...]
    arm: int | None = None


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows under a heading of their own (a split); no heading, if it is empty."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; all columns but the first hold numbers, except those in `text_columns`."""

    caption: str
    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]
    text_columns: frozenset[int] = field(default_factory=frozenset)
    compact: bool = False  # small type, for long lists

    @property
    def is_empty(self) -> bool:
        return not any(group.rows for group in self.groups)


def cell_text(cell: Cell) -> str:
    """A cell as plain text; an interval has brackets of its own, any other note gets parentheses."""
    note = cell.note if not cell.note or cell.note.startswith("[") else f"({cell.note})"
    return f"{cell.text} {note}".strip()


def main_table(report: Report) -> Table:
    """Success, score, steps and what went wrong: each arm on each split."""
    return Table(
        caption=f"Success on each split, with {_confidence(report)} intervals",
        columns=(
            "Arm",
            "Success rate",
            "Successes",
            "Mean score",
            "Mean steps",
            "Truncated",
            "Errors",
        ),
        groups=tuple(
            RowGroup(
                f"{split_label(split)}, {_num_tasks(report, index)} tasks",
                tuple(
                    _main_row(arm, position, arm.results[index].total)
                    for position, arm in enumerate(report.arms)
                ),
            )
            for index, split in enumerate(report.splits)
        ),
    )


def difference_table(report: Report, family: str) -> Table:
    """The paired differences of one family, split by split."""
    rows = [comparison for comparison in report.comparisons if comparison.family == family]
    against = {"reference": report.reference, "base": report.base, "focus": report.focus}[family]
    name = report.arm(against).label if against else ""
    caption = f"{name} minus each control" if family == "focus" else f"Each arm minus {name}"
    return Table(
        caption=f"{caption}, on the same tasks",
        columns=(
            "Control" if family == "focus" else "Arm",
            "Success, points",
            "p",
            "p adjusted",
            "Better / worse / same",
            "Score",
            "Verdict",
        ),
        groups=tuple(
            RowGroup(
                split_label(split),
                tuple(_difference_row(report, row) for row in rows if row.split == split),
            )
            for split in report.splits
        ),
        text_columns=frozenset({6}),
    )


def difference_tables(report: Report) -> tuple[Table, ...]:
    """The tables of differences that have rows."""
    tables = [difference_table(report, family) for family in ("reference", "focus", "base")]
    return tuple(table for table in tables if not table.is_empty)


def group_table(report: Report, split: str) -> Table:
    """Success per task group and arm on one split."""
    index = report.splits.index(split)
    groups = report.arms[0].results[index].groups
    in_order = groups_in_order(report, split)
    return Table(
        caption=f"Success per task group, {split_label(split)}",
        columns=("Task group", "Tasks", *(arm.label for arm in report.arms)),
        groups=(
            RowGroup(
                "",
                tuple(
                    Row(
                        (
                            Cell(clean(group)),
                            Cell(
                                f"{round((groups[group].num_episodes.value or 0) / report.arms[0].num_runs)}",
                                tone="muted",
                            ),
                            *(
                                _rate_cell(arm.results[index].groups[group].success_rate, digits=0)
                                for arm in report.arms
                            ),
                        )
                    )
                    for group in in_order
                ),
            ),
        ),
        compact=True,
    )


def groups_in_order(report: Report, split: str) -> list[str]:
    """The task groups of a split, the easiest for the reference first."""
    groups = report.arm(report.reference).results[report.splits.index(split)].groups
    return sorted(groups, key=lambda group: (-(groups[group].success_rate.value or 0.0), group))


def format_main_table(report: Report) -> RichTable:
    """The main table for a terminal of 80 columns: intervals at the success rate alone."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = main_table(report)
    columns = [index for index, column in enumerate(table.columns) if column != "Successes"]
    shown = RichTable(
        title=Text(clean(report.headline, 600)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    for index in columns:
        title = table.columns[index].removeprefix("Mean ").capitalize()
        shown.add_column(
            Text(title), justify="right" if index else "left", overflow="fold", no_wrap=index == 1
        )
    for group in table.groups:
        split, _, num_tasks = group.title.partition(", ")
        shown.add_row(Text(split, style="bold"), Text(num_tasks, style="dim"))
        for row in group.rows:
            shown.add_row(
                *(
                    Text(cell_text(row.cells[index]) if index == 1 else row.cells[index].text)
                    for index in columns
                )
            )
        shown.add_section()
    return shown


def _main_row(arm: ArmReport, position: int, counts: EpisodeCounts) -> Row:
    return Row(
        (
            Cell(arm.label, ROLE_LABELS[arm.role]),
            _rate_cell(counts.success_rate),
            Cell(f"{count(counts.num_success)} / {count(counts.num_valid)}"),
            Cell(decimal(counts.mean_score), decimal_interval(counts.mean_score)),
            Cell(decimal(counts.mean_steps, 1), decimal_interval(counts.mean_steps, 1)),
            _event_cell(counts.num_truncated, "muted"),
            _event_cell(counts.num_invalid, "caution"),
        ),
        position,
    )


def _difference_row(report: Report, row: Comparison) -> Row:
    shown = row.against if row.family == "focus" else row.arm
    position = next(index for index, arm in enumerate(report.arms) if arm.name == shown)
    tones: dict[str, Tone] = {"better": "good", "worse": "bad", "not_corrected": "caution"}
    return Row(
        (
            Cell(report.arms[position].label),
            Cell(points(row.success_difference), points_interval(row.success_difference)),
            Cell(p_text(row.p_value)),
            Cell(p_text(row.p_adjusted)),
            Cell(f"{row.num_higher} / {row.num_lower} / {row.num_tied}"),
            Cell(
                decimal(row.score_difference, sign=True),
                decimal_interval(row.score_difference, sign=True),
            ),
            Cell(VERDICTS[row.verdict], tone=tones.get(row.verdict, "muted")),
        ),
        position,
    )


def _rate_cell(rate: Number, digits: int = 1) -> Cell:
    return Cell(
        percent(rate, digits),
        percent_interval(rate, digits),
        "" if rate.value is not None else "muted",
    )


def _event_cell(number: Number, tone: Tone) -> Cell:
    return Cell(count(number), tone=tone if number.value else "muted")


def _num_tasks(report: Report, index: int) -> int:
    return report.arms[0].results[index].num_tasks


def _confidence(report: Report) -> str:
    return f"{100 * report.confidence:g}{PERCENT}"
