"""Report -> tables of success beside its cost: what each arm took, and success over the budget."""

from __future__ import annotations

from atlas.presenting.table import Cell, RowGroup, Table, TableRow
from atlas.presenting.wording import (
    DASH,
    count,
    percent,
    points,
    points_interval,
    seconds,
    share,
)
from atlas.reporting.claims.words import claim_cell
from atlas.reporting.measures.curves import budget_curves
from atlas.reporting.page.tables import arm_rows, rate_cell, scope_title, shown_rate
from atlas.reporting.report import ArmComparison, ArmReport, Report, ScopeResult

# What a training took, by the field of its budget.
COSTS = {
    "num_supervised_tokens": "Supervised tokens",
    "train_seconds": "Training time",
}


def cost_table(report: Report) -> Table:
    """Supervised tokens and training time beside success and its difference to the reference."""
    against = report.arm(report.reference)
    compared = (row for row in report.comparisons if row.against == against.name)
    rows = {(row.arm, row.scope): row for row in compared}

    def cells(arm: ArmReport, result: ScopeResult) -> tuple[Cell, ...]:
        row = rows.get((arm.name, result.scope))
        tokens, time = ("num_supervised_tokens", "train_seconds")
        return (
            Cell(arm.label),
            _cost_cell(arm, against, tokens),
            _cost_cell(arm, against, time),
            rate_cell(shown_rate(report, result)),
            *_difference_cells(row, report),
        )

    groups = tuple(
        RowGroup(
            scope_title(scope),
            arm_rows(cells(arm, arm.scopes[index]) for arm in report.arms),
        )
        for index, scope in enumerate(report.scopes)
    )
    difference = f"Minus {against.label}, points"
    columns = ("Arm", "Supervised tokens", "Training time", "Success", difference, "What it says")
    is_known = any(arm.budget is not None for arm in report.arms)
    return Table(
        "Success, and what the training took",
        columns,
        groups if is_known else (),
        text_columns=frozenset({5}),
    )


def curve_table(report: Report) -> Table:
    """Success of the arms of each curve, from the fewest supervised steps to all of them."""
    places = {arm.name: place for place, arm in enumerate(report.arms)}

    def row(arm: ArmReport) -> TableRow:
        budget = arm.budget
        steps = DASH if budget is None else percent(budget.supervised_step_share)
        tokens = DASH if budget is None else percent(budget.supervised_token_share)
        rates = (rate_cell(shown_rate(report, result)) for result in arm.scopes)
        return TableRow((Cell(arm.label), Cell(steps), Cell(tokens), *rates), places[arm.name])

    return Table(
        "Success over the share of supervised steps, for each selector",
        ("Arm", "Steps", "Tokens", *(scope_title(scope) for scope in report.scopes)),
        tuple(
            RowGroup(curve.title, tuple(map(row, curve.arms))) for curve in budget_curves(report)
        ),
    )


def cost_share(arm: ArmReport, against: ArmReport, field: str) -> float | None:
    """A number of an arm's budget as a share of that of the reference; None if it is unknown."""
    if arm.budget is None or against.budget is None:
        return None
    own, whole = (getattr(one.budget, field).value for one in (arm, against))
    return own / whole if own is not None and whole else None


def _cost_cell(arm: ArmReport, against: ArmReport, field: str) -> Cell:
    if arm.budget is None:
        return Cell(DASH, tone="muted")
    number = getattr(arm.budget, field)
    text = seconds(number) if field == "train_seconds" else count(number)
    part = cost_share(arm, against, field)
    return Cell(text, "" if part is None or arm is against else share(part, 1))


def _difference_cells(row: ArmComparison | None, report: Report) -> tuple[Cell, Cell]:
    if row is None:
        return Cell(DASH, tone="muted"), Cell(DASH, tone="muted")
    difference = row.success_difference
    return Cell(points(difference), points_interval(difference)), claim_cell(row, report)
