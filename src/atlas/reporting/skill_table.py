"""Report -> the table of base skills before and after the training."""

from __future__ import annotations

from atlas.presenting.table import Cell, RowGroup, Table
from atlas.presenting.wording import DASH, MAX_LABEL, points, points_interval
from atlas.reporting.difference_interval import OF_CHECKPOINTS, OF_METHODS
from atlas.reporting.report import ArmReport, Report
from atlas.reporting.tables import arm_rows, rate_cell
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

# What a difference without a verdict is about, by its method.
ABOUT = {OF_METHODS: "the method", OF_CHECKPOINTS: "this checkpoint"}


def skill_table(report: Report) -> Table:
    """The accuracy of each arm on each standard task, and its difference to the untuned model."""
    tasks = list(dict.fromkeys(one.task for arm in report.arms for one in arm.skills))

    def cells(arm: ArmReport, task: str) -> tuple[Cell, ...] | None:
        found = next((one for one in arm.skills if one.task == task), None)
        if found is None:
            return None
        difference = found.difference or Estimate()
        about = ABOUT.get(found.difference.method, DASH) if found.difference else DASH
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
        ("Arm", "Accuracy", f"Minus {before}, points", "The change is of"),
        tuple(map(group, tasks)),
        text_columns=frozenset({3}),
    )
