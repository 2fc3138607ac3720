"""Text for verdicts, splits and differences of arms."""

from __future__ import annotations

from atlas.presenting.table import Tone
from atlas.presenting.wording import MAX_LABEL, points, points_interval
from atlas.reporting.report import ArmComparison, ArmVerdict
from atlas.terminal.visible_text import one_line

VERDICTS: dict[ArmVerdict, str] = {
    "better": "better",
    "worse": "worse",
    "not_corrected": "not after correction",
    "none": "no difference shown",
    "untested": "no common valid task",
}
VERDICT_TONES: dict[ArmVerdict, Tone] = {
    "better": "good",
    "worse": "bad",
    "not_corrected": "caution",
    "none": "muted",
    "untested": "muted",
}


def split_label(split: str) -> str:
    """`held_in_test` -> `held-in test`."""
    name = one_line(split, MAX_LABEL).replace("held_in", "held-in").replace("held_out", "held-out")
    return name.replace("_", " ")


def difference_text(comparison: ArmComparison) -> str:
    """`+8.0 points [+2.1, +13.9]`."""
    difference = comparison.success_difference
    return f"{points(difference)} points {points_interval(difference)}".strip()
