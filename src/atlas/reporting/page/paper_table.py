"""Report -> the table of the paper's success rates beside those of the arms that correspond."""

from __future__ import annotations

from atlas.presenting.table import Cell, RowGroup, Table, TableRow
from atlas.presenting.wording import DASH, MAX_LABEL, PERCENT, points, points_interval, signed
from atlas.reporting.page.paper_figures import PAPER, PAPER_ROWS, PaperRow
from atlas.reporting.page.tables import rate_cell
from atlas.reporting.report import ArmReport, Report
from atlas.statistics.estimate import Estimate
from atlas.statistics.macro_average import average_estimates
from atlas.terminal.visible_text import one_line

# Rings and splits whose names begin so are what the paper calls held-in and held-out.
PAPER_SIDES = ("held_in", "held_out")


def paper_table(report: Report) -> Table:
    """Our arms with the rows of the paper that correspond to them below each."""
    pairs = paper_pairs(report)
    columns = ("Held-in", "Minus all steps, points", "Held-out", "Minus all steps, points")
    return Table(
        f"Success rates of our arms and of the paper ({PAPER}, one run each, no intervals)",
        ("Whose", *columns),
        tuple(
            RowGroup(
                f"{arm.label} ({one_line(arm.method.selector, MAX_LABEL)})",
                (
                    _our_row(report, arm, place),
                    *(_paper_row(row) for row, other in pairs if other is arm),
                ),
            )
            for place, arm in enumerate(report.arms)
            if arm.method is not None and any(other is arm for _, other in pairs)
        ),
    )


def _our_row(report: Report, arm: ArmReport, place: int) -> TableRow:
    cells = [Cell("This report")]
    for side in PAPER_SIDES:
        difference = _our_difference(report, arm, side)
        change = Cell(points(difference), points_interval(difference))
        cells += [rate_cell(paper_side(report, arm, side)), change]
    return TableRow(tuple(cells), place)


def _paper_row(row: PaperRow) -> TableRow:
    [all_steps] = [one for one in PAPER_ROWS if one.model == row.model and one.ratio is None]
    cells = [Cell(f"The paper, {row.model}")]
    for rate, of_all in ((row.held_in, all_steps.held_in), (row.held_out, all_steps.held_out)):
        change = DASH if row is all_steps else signed(rate - of_all, 2)
        cells += [Cell(f"{rate:.2f}{PERCENT}"), Cell(change)]
    return TableRow(tuple(cells))


def _our_difference(report: Report, arm: ArmReport, side: str) -> Estimate:
    """Our difference from the arm that was trained on all steps; unknown if there is none."""
    found = [
        row.success_difference
        for row in report.comparisons
        if row.arm == arm.name
        and row.scope.startswith(side)
        and (method := report.arm(row.against).method) is not None
        and method.takes_all_steps
    ]
    if len(found) == 1:
        return found[0]
    return Estimate(value=average_estimates(found).value)


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
