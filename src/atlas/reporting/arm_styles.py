"""Color and mark of each arm, the same in all plots and tables of a report."""

from __future__ import annotations

from itertools import count

from atlas.presenting.marks import MarkStyle
from atlas.presenting.svg import BASE, COLORS, CONTROLS, FOCUS, REFERENCE
from atlas.reporting.report import ArmReport, Report

ROLE_STYLES = {
    "base": MarkStyle(BASE, "o", hollow=True),
    "reference": MarkStyle(REFERENCE, "D"),
    "focus": MarkStyle(FOCUS, "o"),
}
CONTROL_MARKS = ("s", "^", "v", "P", "X")


def styled_arms(report: Report) -> list[tuple[ArmReport, MarkStyle]]:
    """Each arm with its style, by its role.

    Controls get styles in the order of the report; from the sixth on, their marks are hollow.
    """
    num_marks = len(CONTROLS)
    controls = (
        MarkStyle(CONTROLS[place % num_marks], CONTROL_MARKS[place % num_marks], place >= num_marks)
        for place in count()
    )
    return [(arm, ROLE_STYLES.get(arm.role) or next(controls)) for arm in report.arms]


def page_marks(report: Report) -> tuple[tuple[str, str], ...]:
    """The CSS variable and the shape of each arm's mark."""
    return tuple((COLORS[style.color][0][2:], style.mark) for _, style in styled_arms(report))
