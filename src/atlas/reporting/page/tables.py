"""Report -> tables of success: by scope with its averages, and the episodes on each split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from atlas.presenting.table import Cell, RowGroup, Table, TableRow, Tone
from atlas.presenting.wording import (
    DASH,
    PERCENT,
    count,
    decimal,
    decimal_interval,
    percent,
    percent_interval,
    plain_points,
)
from atlas.reporting.claims.settings import Average
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.report import (
    ArmReport,
    EpisodeCounts,
    RepetitionFigures,
    Report,
    Scope,
    ScopeResult,
)
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

if TYPE_CHECKING:
    from rich.table import Table as RichTable

ROLE_LABELS = {"base": "untuned", "reference": "reference", "focus": "", "control": ""}
AVERAGE_LABELS: dict[Average, str] = {
    "tasks": "Every task alike",
    "environments": "Every environment alike",
    "groups": "Every level alike",
}
INVALID_STEPS = "Invalid steps"


def main_table(report: Report) -> Table:
    """The success of each arm on each scope, micro and macro, and how much its trainings vary."""
    averages = [average for average in AVERAGE_LABELS if _is_known(report, average)]
    has_spread = any(r.seed_sd.value is not None for arm in report.arms for r in arm.scopes)

    def cells(arm: ArmReport, result: ScopeResult) -> tuple[Cell, ...]:
        rates = (result.rates.get(average, Estimate()) for average in averages)
        trainings = DASH if arm.budget is None and arm.method is None else str(arm.num_runs)
        spread = plain_points(result.seed_sd)
        is_known = any(rate.value is not None for rate in result.run_rates)
        seeds = tuple(percent(rate) for rate in result.run_rates) if is_known else ()
        return (
            Cell(arm.label, ROLE_LABELS[arm.role]),
            *map(rate_cell, rates),
            Cell(trainings, ", ".join(seeds) if len(seeds) > 1 else ""),
            *((Cell(spread),) if has_spread else ()),
        )

    labels = (AVERAGE_LABELS[average] for average in averages)
    return Table(
        f"Success rate, with {100 * report.confidence:g}{PERCENT} intervals",
        ("Arm", *labels, "Trainings", *(("SD of seeds, points",) if has_spread else ())),
        tuple(
            RowGroup(
                scope_title(scope), arm_rows(cells(arm, arm.scopes[index]) for arm in report.arms)
            )
            for index, scope in enumerate(report.scopes)
        ),
    )


def split_table(report: Report) -> Table:
    """Success, score, steps and errors of each arm on each split."""
    totals = [result.total for arm in report.arms for result in arm.results]
    has_invalid_steps = any(total.invalid_step_share.value is not None for total in totals)
    means = ("Mean score", "Mean steps", *((INVALID_STEPS,) if has_invalid_steps else ()))

    def group(index: int, split: str) -> RowGroup:
        title = f"{split_label(split)}, {report.arms[0].results[index].num_tasks} tasks"
        totals = ((arm, arm.results[index].total) for arm in report.arms)
        cells = (_split_cells(arm, total, has_invalid_steps) for arm, total in totals)
        return RowGroup(title, arm_rows(cells))

    return Table(
        "Episodes on each split",
        ("Arm", "Success rate", "Successes", *means, "Truncated", "Errors"),
        tuple(group(*split) for split in enumerate(report.splits)),
        is_detail=True,
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
    return Table("Turns of valid episodes", columns, groups if is_known else (), is_detail=True)


def repetition_table(report: Report) -> Table:
    """What repeated episodes of the same tasks show; empty if no task was played twice."""
    found = [result.repetitions for arm in report.arms for result in arm.scopes]
    ks = sorted({k for figures in found if figures for k in figures.pass_hat})

    def cells(arm: ArmReport, figures: RepetitionFigures | None) -> tuple[Cell, ...] | None:
        if figures is None:
            return None
        known = (figures.pass_hat.get(k, Estimate()) for k in ks)
        repeated = Cell(str(figures.num_repetitions), f"{figures.num_tasks} tasks")
        return (Cell(arm.label), repeated, *map(rate_cell, known), rate_cell(figures.flip_rate))

    groups = tuple(
        RowGroup(
            scope_title(scope),
            arm_rows(cells(arm, arm.scopes[index].repetitions) for arm in report.arms),
        )
        for index, scope in enumerate(report.scopes)
    )
    return Table(
        "Repeated episodes: k of k succeed (pass^k), and two of a task end differently",
        ("Arm", "Repetitions", *(f"pass^{k}" for k in ks), "Flip rate"),
        groups,
    )


def arm_rows(cells_of_arms: Iterable[Iterable[Cell | str] | None]) -> tuple[TableRow, ...]:
    """A row for each arm of a report, with its mark; None leaves an arm out."""
    return tuple(
        TableRow(tuple(Cell(cell) if isinstance(cell, str) else cell for cell in cells), position)
        for position, cells in enumerate(cells_of_arms)
        if cells is not None
    )


def format_main_table(report: Report) -> RichTable:
    """The success of each arm for a terminal of 80 columns, as the verdicts average it."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(one_line(report.headline)),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    sides: tuple[Literal["left", "right"], ...] = ("left", "right", "right", "right")
    for side, heading in zip(sides, ("Arm", "Success", "Trainings", "SD of seeds"), strict=True):
        shown.add_column(Text(heading), justify=side, overflow="fold")
    for index, scope in enumerate(report.scopes):
        shown.add_row(Text(split_label(scope.name), style="bold"), Text(f"{scope.num_tasks} tasks"))
        for arm in report.arms:
            result = arm.scopes[index]
            rate = rate_cell(shown_rate(report, result)).plain
            texts = (arm.label, rate, str(arm.num_runs), plain_points(result.seed_sd))
            shown.add_row(*map(Text, texts))
        shown.add_section()
    return shown


def scope_title(scope: Scope) -> str:
    """`held-in test, 120 tasks`."""
    splits = f" in {len(scope.splits)} splits" if len(scope.splits) > 1 else ""
    return f"{split_label(scope.name)}, {scope.num_tasks} tasks{splits}"


def shown_rate(report: Report, result: ScopeResult) -> Estimate:
    """The success rate by the average that verdicts are about."""
    return result.rates.get(report.claims.average, Estimate())


def has_rates(report: Report) -> bool:
    """Whether any arm has a success rate."""
    rates = (shown_rate(report, result) for arm in report.arms for result in arm.scopes)
    return any(rate.value is not None for rate in rates)


def rate_cell(rate: Estimate, digits: int = 1) -> Cell:
    """A rate with its interval."""
    tone: Tone = "muted" if rate.value is None else ""
    return Cell(percent(rate, digits), percent_interval(rate, digits), tone)


def _is_known(report: Report, average: Average) -> bool:
    return any(average in result.rates for arm in report.arms for result in arm.scopes)


def _split_cells(
    arm: ArmReport, counts: EpisodeCounts, has_invalid_steps: bool
) -> tuple[Cell, ...]:
    invalid = Cell(percent(counts.invalid_step_share), tone="muted")
    return (
        Cell(arm.label, ROLE_LABELS[arm.role]),
        rate_cell(counts.success_rate),
        Cell(f"{count(counts.num_success)} / {count(counts.num_valid)}"),
        Cell(decimal(counts.mean_score), decimal_interval(counts.mean_score)),
        Cell(decimal(counts.mean_steps, 1), decimal_interval(counts.mean_steps, 1)),
        *((invalid,) if has_invalid_steps else ()),
        _event_cell(counts.num_truncated, "muted"),
        _event_cell(counts.num_invalid, "caution"),
    )


def _event_cell(number: Estimate, tone: Tone) -> Cell:
    return Cell(count(number), tone=tone if number.value else "muted")
