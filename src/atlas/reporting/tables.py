"""Report -> tables: success, differences and task groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from atlas.presenting.table import Cell, RowGroup, Table, TableRow, Tone, plain_table
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
from atlas.reporting.report import ArmComparison, ArmReport, Block, EpisodeCounts, Report
from atlas.reporting.verdicts import split_label, verdict_text, verdict_tone
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

if TYPE_CHECKING:
    from rich.table import Table as RichTable

ROLE_LABELS = {"base": "untuned", "reference": "reference", "focus": "", "control": ""}
INVALID_STEPS = "Invalid steps"
# Columns of the main table that do not fit on a terminal of 80 columns.
PAGE_ONLY = ("Successes", INVALID_STEPS)


def main_table(report: Report) -> Table:
    """Success, score, steps and errors of each arm on each split."""
    totals = [result.total for arm in report.arms for result in arm.results]
    has_invalid_steps = any(total.invalid_step_share.value is not None for total in totals)
    means = ("Mean score", "Mean steps", *((INVALID_STEPS,) if has_invalid_steps else ()))

    def group(index: int, split: str) -> RowGroup:
        title = f"{split_label(split)}, {report.arms[0].results[index].num_tasks} tasks"
        totals = ((arm, arm.results[index].total) for arm in report.arms)
        cells = (_main_cells(arm, total, has_invalid_steps) for arm, total in totals)
        return RowGroup(title, arm_rows(cells))

    return Table(
        f"Success on each split, with {100 * report.confidence:g}{PERCENT} intervals",
        ("Arm", "Success rate", "Successes", *means, "Truncated", "Errors"),
        tuple(group(*split) for split in enumerate(report.splits)),
    )


def turn_table(report: Report) -> Table:
    """What went wrong in the turns of each arm; empty if no environment or player says it."""
    totals = [result.total for arm in report.arms for result in arm.results]
    shares = [(total.actionless_step_share, total.cut_step_share) for total in totals]
    is_known = any(share.value is not None for pair in shares for share in pair)
    has_tokens = any(total.mean_output_tokens.value is not None for total in totals)

    def row(index: int, arm: ArmReport) -> tuple[Cell, ...]:
        total = arm.results[index].total
        return (
            Cell(arm.label),
            Cell(percent(total.actionless_step_share)),
            Cell(percent(total.repeated_step_share)),
            Cell(percent(total.cut_step_share)),
            *(tokens(total) if has_tokens else ()),
        )

    def tokens(total: EpisodeCounts) -> tuple[Cell, ...]:
        means = (total.mean_input_tokens, total.mean_output_tokens)
        return tuple(Cell(decimal(mean, 0), decimal_interval(mean, 0)) for mean in means)

    groups = tuple(
        RowGroup(split_label(split), arm_rows(row(index, arm) for arm in report.arms))
        for index, split in enumerate(report.splits)
    )
    known = ("Tokens read", "Tokens written") if has_tokens else ()
    columns = ("Arm", "No action", "Repeated action", "Answer cut off", *known)
    return Table("Turns of valid episodes", columns, groups if is_known else ())


def arm_rows(cells_of_arms: Iterable[Iterable[Cell | str] | None]) -> tuple[TableRow, ...]:
    """A row for each arm of a report, with its mark; None leaves an arm out."""
    return tuple(
        TableRow(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells), position)
        for position, cells in enumerate(cells_of_arms)
        if cells is not None
    )


def difference_tables(report: Report) -> tuple[Table, ...]:
    """The paired differences of each family of comparisons, split by split."""
    return (
        _difference_table(report, "primary", report.reference),
        _difference_table(report, "reference", report.reference),
        _difference_table(report, "focus", report.focus),
        _difference_table(report, "base", report.base),
    )


def group_table(report: Report, split: str) -> Table:
    """Success per task group and arm on one split."""
    index = report.splits.index(split)
    first = report.arms[0]

    def row(group: str) -> TableRow:
        num_episodes = first.results[index].groups[group].num_episodes.value or 0
        num_tasks = Cell(f"{round(num_episodes / first.num_runs)}", tone="muted")
        rates = (arm.results[index].groups[group].success_rate for arm in report.arms)
        cells = (_rate_cell(rate, digits=0) for rate in rates)
        return TableRow((Cell(one_line(group, MAX_LABEL)), num_tasks, *cells))

    caption = f"Success per task group, {split_label(split)}"
    columns = ("Task group", "Tasks", *(arm.label for arm in report.arms))
    return plain_table(caption, columns, map(row, groups_in_order(report, split)), compact=True)


def groups_in_order(report: Report, split: str) -> list[str]:
    """The task groups of a split, those that are easiest for the reference first."""
    groups = report.arm(report.reference).results[report.splits.index(split)].groups
    return sorted(groups, key=lambda group: (-(groups[group].success_rate.value or 0.0), group))


def format_main_table(report: Report) -> RichTable:
    """The main table for a terminal of 80 columns; only the success rate has an interval."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table, title = main_table(report), Text(one_line(report.headline))
    columns = [index for index, column in enumerate(table.columns) if column not in PAGE_ONLY]
    shown = RichTable(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index in columns:
        heading = Text(table.columns[index].removeprefix("Mean ").capitalize())
        side: Literal["left", "right"] = "right" if index else "left"
        shown.add_column(heading, justify=side, overflow="fold", no_wrap=index == 1)
    for group in table.groups:
        split, _, num_tasks = group.title.partition(", ")
        shown.add_row(Text(split, style="bold"), Text(num_tasks, style="dim"))
        for row in group.rows:
            cells = [(index, row.cells[index]) for index in columns]
            shown.add_row(*(Text(cell.plain if index == 1 else cell.text) for index, cell in cells))
        shown.add_section()
    return shown


def _main_cells(arm: ArmReport, counts: EpisodeCounts, has_invalid_steps: bool) -> tuple[Cell, ...]:
    invalid = Cell(percent(counts.invalid_step_share), tone="muted")
    return (
        Cell(arm.label, ROLE_LABELS[arm.role]),
        _rate_cell(counts.success_rate),
        Cell(f"{count(counts.num_success)} / {count(counts.num_valid)}"),
        Cell(decimal(counts.mean_score), decimal_interval(counts.mean_score)),
        Cell(decimal(counts.mean_steps, 1), decimal_interval(counts.mean_steps, 1)),
        *((invalid,) if has_invalid_steps else ()),
        _event_cell(counts.num_truncated, "muted"),
        _event_cell(counts.num_invalid, "caution"),
    )


def _difference_table(report: Report, block: Block, against: str | None) -> Table:
    name = report.arm(against).label if against else ""
    is_focus = block == "focus"
    caption = f"{name} minus each control" if is_focus else f"Each arm minus {name}"
    if block == "primary":
        caption = "The primary comparison"
    places = {arm.name: position for position, arm in enumerate(report.arms)}

    def row(comparison: ArmComparison) -> TableRow:
        position = places[comparison.against if is_focus else comparison.arm]
        score, success = comparison.score_difference, comparison.success_difference
        cells = (
            Cell(report.arms[position].label),
            Cell(points(success), points_interval(success)),
            Cell(p_text(comparison.p_value)),
            Cell(p_text(comparison.p_adjusted)),
            Cell(f"{comparison.num_higher} / {comparison.num_lower} / {comparison.num_tied}"),
            Cell(decimal(score, sign=True), decimal_interval(score, sign=True)),
            Cell(verdict_text(comparison, report.claims), tone=verdict_tone(comparison)),
        )
        return TableRow(cells, position)

    rows = [comparison for comparison in report.comparisons if comparison.block == block]
    groups = tuple(
        RowGroup(
            split_label(scope.name),
            tuple(row(given) for given in rows if given.scope == scope.name),
        )
        for scope in report.scopes
    )
    first, p_values = "Control" if is_focus else "Arm", ("p", "p adjusted")
    return Table(
        caption=f"{caption}, on the same tasks",
        columns=(first, "Success, points", *p_values, "Higher / lower / same", "Score", "Verdict"),
        groups=groups,
        text_columns=frozenset({6}),
    )


def _rate_cell(rate: Estimate, digits: int = 1) -> Cell:
    tone: Tone = "muted" if rate.value is None else ""
    return Cell(percent(rate, digits), percent_interval(rate, digits), tone)


def _event_cell(number: Estimate, tone: Tone) -> Cell:
    return Cell(count(number), tone=tone if number.value else "muted")
