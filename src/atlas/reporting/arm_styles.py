"""Color and mark of each arm, the same in all plots and tables of a report."""

from __future__ import annotations

from atlas.presenting.marks import MarkStyle
from atlas.presenting.svg import BASE, COLORS, CONTROLS, FOCUS, REFERENCE
from atlas.reporting.report import Report

CONTROL_MARKS = ("s", "^", "v", "P", "X")


def arm_styles(report: Report) -> tuple[MarkStyle, ...]:
    """The style of each arm, by its role.

    Controls take theirs in the order of the report; from the sixth on they are hollow.
    """
    roles = {
        "base": MarkStyle(BASE, "o", hollow=True),
        "reference": MarkStyle(REFERENCE, "D"),
        "focus": MarkStyle(FOCUS, "o"),
    }
    styles, num_controls = [], 0
    for arm in report.arms:
        if arm.role != "control":
            styles.append(roles[arm.role])
            continue
        place = num_controls % len(CONTROLS)
        hollow = num_controls >= len(CONTROLS)
        styles.append(MarkStyle(CONTROLS[place], CONTROL_MARKS[place], hollow))
        num_controls += 1
    return tuple(styles)


def page_marks(report: Report) -> tuple[tuple[str, str], ...]:
    """The CSS variable and the shape of each arm's mark."""
    return tuple((COLORS[style.color][0][2:], style.mark) for style in arm_styles(report))
