"""Report -> the table of the paper's success rates beside those of the arms that correspond."""

from __future__ import annotations

from atlas.presenting.table import Cell, Table, TableRow, plain_table
from atlas.presenting.wording import DASH, MAX_LABEL, PERCENT
from atlas.reporting.paper_figures import PAPER, PAPER_ROWS, PaperRow
from atlas.reporting.report import ArmReport, Report
from atlas.reporting.tables import rate_cell
from atlas.statistics.estimate import Estimate
from atlas.statistics.macro_average import average_estimates
from atlas.terminal.visible_text import one_line

# Rings and splits whose names begin so are what the paper calls held-in and held-out.
PAPER_SIDES = {"held_in": "Held-in", "held_out": "Held-out"}


def paper_table(report: Report) -> Table:
    """The success rates of the paper beside those of the arms that correspond to them."""

    def table_row(row: PaperRow, arm: ArmReport) -> TableRow:
        ours = [paper_side(report, arm, side) for side in PAPER_SIDES]
        paper = (f"{value:.2f}{PERCENT}" for value in (row.held_in, row.held_out))
        how = arm.method.selector if arm.method else DASH
        cells = (
            Cell(row.title, row.model),
            *map(Cell, paper),
            Cell(arm.label, one_line(how, MAX_LABEL)),
            *(rate_cell(rate) for rate in ours),
        )
        return TableRow(cells)

    sides = tuple(PAPER_SIDES.values())
    return plain_table(
        f"The paper's success rates ({PAPER}, one run each, mean over its environments) beside ours",
        (
            *("Paper", *(f"{side}, paper" for side in sides)),
            *("Our arm", *(f"{side}, ours" for side in sides)),
        ),
        (table_row(row, arm) for row, arm in paper_pairs(report)),
        text_columns=[3],
    )


def paper_side(report: Report, arm: ArmReport, side: str) -> Estimate:
    """Our mean over the scopes that the paper would call held-in or held-out."""
    rates = [
        result.rates.get("environments", result.rates.get("tasks", Estimate()))
        for result in arm.scopes
        if result.scope.startswith(side)
    ]
    # The scopes were played by the same trainings, so their intervals cannot be averaged.
    return rates[0] if len(rates) == 1 else Estimate(value=average_estimates(rates).value)


def paper_pairs(report: Report) -> list[tuple[PaperRow, ArmReport]]:
    """Each row of the paper with each arm that corresponds to it."""
    return [
        (row, arm)
        for row in PAPER_ROWS
        for arm in report.arms
        if arm.method is not None and row.is_of(arm.method)
    ]
