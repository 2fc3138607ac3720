"""Color and mark of each arm, the same in all plots and tables of a report."""

from __future__ import annotations

from atlas.presenting.marks import MarkStyle
from atlas.presenting.svg import BASE, COLORS, CONTROLS, FOCUS, REFERENCE
from atlas.reporting.report import Report

ROLE_STYLES = {
    "base": MarkStyle(BASE, "o", hollow=True),
    "reference": MarkStyle(REFERENCE, "D"),
    "focus": MarkStyle(FOCUS, "o"),
}
CONTROL_MARKS = ("s", "^", "v", "P", "X")


def arm_styles(report: Report) -> tuple[MarkStyle, ...]:
    """The style of each arm, by its role.

    Controls take theirs in the order of the report; from the sixth on they are hollow.
    """
    styles, num_controls = [], 0
    for arm in report.arms:
        if arm.role != "control":
            styles.append(ROLE_STYLES[arm.role])
            continue
        round_, place = divmod(num_controls, len(CONTROLS))
        styles.append(MarkStyle(CONTROLS[place], CONTROL_MARKS[place], hollow=round_ > 0))
        num_controls += 1
    return tuple(styles)


def page_marks(report: Report) -> tuple[tuple[str, str], ...]:
    """The CSS variable and the shape of each arm's mark."""
    return tuple((COLORS[style.color][0][2:], style.mark) for style in arm_styles(report))
