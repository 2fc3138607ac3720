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

    Controls get styles in the order of the report. From the sixth on, their marks are hollow; from
    the eleventh on, each color has another shape.
    """
    num_marks = len(CONTROLS)
    controls = (
        MarkStyle(
            CONTROLS[place % num_marks],
            CONTROL_MARKS[(place + place // (2 * num_marks)) % num_marks],
            place // num_marks % 2 == 1,
        )
        for place in count()
    )
    return [(arm, ROLE_STYLES.get(arm.role) or next(controls)) for arm in report.arms]


def page_marks(report: Report) -> tuple[tuple[str, str, bool], ...]:
    """The CSS variable and the shape of each arm's mark, and whether it is hollow."""
    return tuple(
        (COLORS[style.color][0][2:], style.mark, style.hollow) for _, style in styled_arms(report)
    )
