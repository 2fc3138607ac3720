"""Report -> the table of single environments or levels."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.presenting.table import Cell, RowGroup, Table
from atlas.presenting.wording import (
    MAX_LABEL,
    percent,
    percent_interval,
    points,
    points_interval,
)
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.page.tables import arm_rows, rate_cell
from atlas.reporting.report import Report, Scope, UnitArm, UnitReport
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

KINDS = {"environment": "environment", "group": "level"}


def unit_table(report: Report, scope: Scope) -> Table:
    """A row for each arm on each environment or level of a scope."""
    units = units_in_order(report, scope)
    labels = {arm.name: arm.label for arm in report.arms}
    kind = KINDS[units[0].kind] if units else ""
    has_improvement = any(one.improvement for unit in units for one in unit.arms)

    def cells(one: UnitArm) -> Iterator[Cell]:
        yield Cell(labels[one.arm])
        yield rate_cell(one.success_rate)
        difference, improvement = one.difference or Estimate(), one.improvement or Estimate()
        yield Cell(points(difference), points_interval(difference))
        if has_improvement:
            yield Cell(percent(improvement, 0), percent_interval(improvement, 0))

    against = report.arm(report.reference).label
    likely = (f"Better than {against}",) if has_improvement else ()
    return Table(
        f"Success per {kind}, {split_label(scope.name)}",
        ("Arm", "Success rate", f"Minus {against}, points", *likely),
        tuple(
            RowGroup(
                f"{one_line(unit.unit, MAX_LABEL)}, {unit.num_tasks} tasks",
                arm_rows(map(cells, unit.arms)),
            )
            for unit in units
        ),
        compact=True,
        is_detail=True,
    )


def units_in_order(report: Report, scope: Scope) -> list[UnitReport]:
    """The units of a scope, those that are easiest for the reference first."""
    units = [unit for unit in report.units if unit.scope == scope.name]

    def rate(unit: UnitReport) -> float:
        [value] = [one.success_rate.value for one in unit.arms if one.arm == report.reference]
        return float(value or 0.0)

    return sorted(units, key=lambda unit: (-rate(unit), unit.unit))
