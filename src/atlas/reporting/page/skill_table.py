"""Report -> the table of base skills before and after the training."""

from __future__ import annotations

from atlas.presenting.table import Cell, RowGroup, Table
from atlas.presenting.wording import DASH, MAX_LABEL, points, points_interval
from atlas.reporting.claims.words import ABOUT
from atlas.reporting.page.tables import arm_rows, rate_cell
from atlas.reporting.report import ArmReport, Report
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line


def skill_table(report: Report) -> Table:
    """The accuracy of each arm on each standard task, and its difference to the untuned model."""
    tasks = list(dict.fromkeys(one.task for arm in report.arms for one in arm.skills))

    def cells(arm: ArmReport, task: str) -> tuple[Cell, ...] | None:
        found = next((one for one in arm.skills if one.task == task), None)
        if found is None:
            return None
        difference = found.difference or Estimate()
        about = ABOUT[found.claim] if found.claim else DASH
        change = Cell(points(difference), points_interval(difference))
        return (Cell(arm.label), rate_cell(found.accuracy), change, Cell(about, tone="muted"))

    def group(task: str) -> RowGroup:
        [items, *_] = [
            one.num_items for arm in report.arms for one in arm.skills if one.task == task
        ]
        title = f"{one_line(task, MAX_LABEL)}, {items} items"
        return RowGroup(title, arm_rows(cells(arm, task) for arm in report.arms))

    before = report.arm(report.base).label if report.base else "the untuned model"
    return Table(
        "Accuracy on standard tasks, and what the training changed",
        ("Arm", "Accuracy", f"Minus {before}, points", "What it is about"),
        tuple(map(group, tasks)),
        text_columns=frozenset({3}),
    )
