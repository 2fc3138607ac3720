"""Report -> tables: success, differences and task groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.presenting.table import Cell, RowGroup, Table, TableRow, Tone
from atlas.presenting.wording import (
    MAX_LABEL,
    PERCENT,
    count,
    decimal,
    decimal_interval,
    p_text,
    percent,
    percent_interval,
    points,
    points_interval,
)
from atlas.reporting.report import ArmComparison, ArmReport, EpisodeCounts, Family, Report
from atlas.reporting.verdicts import VERDICTS, split_label
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

if TYPE_CHECKING:
    from rich.table import Table as RichTable

ROLE_LABELS = {"base": "untuned", "reference": "reference", "focus": "", "control": ""}
INVALID_STEPS = "Invalid steps"
# Columns of the main table that a terminal of 80 columns has no room for.
PAGE_ONLY = ("Successes", INVALID_STEPS)


def main_table(report: Report) -> Table:
    """Success, score, steps and what went wrong: each arm on each split."""
    totals = [result.total for arm in report.arms for result in arm.results]
    has_invalid_steps = any(total.invalid_step_share.value is not None for total in totals)
    extra = (INVALID_STEPS,) if has_invalid_steps else ()
    return Table(
        caption=f"Success on each split, with {_confidence(report)} intervals",
        columns=(
            "Arm",
            "Success rate",
            "Successes",
            "Mean score",
            "Mean steps",
            *extra,
            "Truncated",
            "Errors",
        ),
        groups=tuple(
            RowGroup(
                f"{split_label(split)}, {report.arms[0].results[index].num_tasks} tasks",
                tuple(
                    _main_row(arm, position, arm.results[index].total, has_invalid_steps)
                    for position, arm in enumerate(report.arms)
                ),
            )
            for index, split in enumerate(report.splits)
        ),
    )


def difference_table(report: Report, family: Family) -> Table:
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
    """The tables of all families of comparisons."""
    families: tuple[Family, ...] = ("reference", "focus", "base")
    return tuple(difference_table(report, family) for family in families)


def group_table(report: Report, split: str) -> Table:
    """Success per task group and arm on one split."""
    index = report.splits.index(split)
    first = report.arms[0]

    def row(group: str) -> TableRow:
        num_episodes = first.results[index].groups[group].num_episodes.value or 0
        rates = (arm.results[index].groups[group].success_rate for arm in report.arms)
        return TableRow(
            (
                Cell(one_line(group, MAX_LABEL)),
                Cell(f"{round(num_episodes / first.num_runs)}", tone="muted"),
                *(_rate_cell(rate, digits=0) for rate in rates),
            )
        )

    return Table(
        caption=f"Success per task group, {split_label(split)}",
        columns=("Task group", "Tasks", *(arm.label for arm in report.arms)),
        groups=(RowGroup("", tuple(map(row, groups_in_order(report, split)))),),
        compact=True,
    )


def groups_in_order(report: Report, split: str) -> list[str]:
    """The task groups of a split, the easiest for the reference first."""
    groups = report.arm(report.reference).results[report.splits.index(split)].groups
    return sorted(groups, key=lambda group: (-(groups[group].success_rate.value or 0.0), group))


def format_main_table(report: Report) -> RichTable:
    """The main table for a terminal of 80 columns: only the success rate has its interval."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = main_table(report)
    columns = [index for index, column in enumerate(table.columns) if column not in PAGE_ONLY]
    shown = RichTable(
        title=Text(one_line(report.headline)),
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
                    Text(row.cells[index].plain if index == 1 else row.cells[index].text)
                    for index in columns
                )
            )
        shown.add_section()
    return shown


def _main_row(
    arm: ArmReport, position: int, counts: EpisodeCounts, has_invalid_steps: bool
) -> TableRow:
    invalid = counts.invalid_step_share
    return TableRow(
        (
            Cell(arm.label, ROLE_LABELS[arm.role]),
            _rate_cell(counts.success_rate),
            Cell(f"{count(counts.num_success)} / {count(counts.num_valid)}"),
            Cell(decimal(counts.mean_score), decimal_interval(counts.mean_score)),
            Cell(decimal(counts.mean_steps, 1), decimal_interval(counts.mean_steps, 1)),
            *((Cell(percent(invalid), tone="muted"),) if has_invalid_steps else ()),
            _event_cell(counts.num_truncated, "muted"),
            _event_cell(counts.num_invalid, "caution"),
        ),
        position,
    )


def _difference_row(report: Report, row: ArmComparison) -> TableRow:
    shown = row.against if row.family == "focus" else row.arm
    position = next(index for index, arm in enumerate(report.arms) if arm.name == shown)
    tones: dict[str, Tone] = {"better": "good", "worse": "bad", "not_corrected": "caution"}
    return TableRow(
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


def _rate_cell(rate: Estimate, digits: int = 1) -> Cell:
    return Cell(
        percent(rate, digits),
        percent_interval(rate, digits),
        "" if rate.value is not None else "muted",
    )


def _event_cell(number: Estimate, tone: Tone) -> Cell:
    return Cell(count(number), tone=tone if number.value else "muted")


def _confidence(report: Report) -> str:
    return f"{100 * report.confidence:g}{PERCENT}"
