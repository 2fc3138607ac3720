"""Text for verdicts, scopes and differences of arms.

"Better" and "worse" are said of methods only, and good and bad tones are given to them only. A
verdict that rests on an assumption names it; a verdict about checkpoints says so.
"""

from __future__ import annotations

from atlas.presenting.table import Tone
from atlas.presenting.wording import MAX_LABEL, points, points_interval
from atlas.reporting.report import ArmComparison, Claims, Verdict
from atlas.terminal.visible_text import one_line

VERDICTS: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "not_worse": "not worse by more than {margin} points",
    "alike": "alike within {margin} points",
    "undecided": "undecided",
    "differ": "these checkpoints differ",
    "no_difference": "no difference shown",
    "untested": "no common valid task",
}
TONES: dict[Verdict, Tone] = {
    "better": "good",
    "worse": "bad",
    "not_worse": "",
    "alike": "",
    "undecided": "muted",
    "differ": "",
    "no_difference": "muted",
    "untested": "muted",
}


def verdict_text(comparison: ArmComparison, claims: Claims) -> str:
    """The verdict in a few words, with its margin and its assumption."""
    text = VERDICTS[comparison.verdict].format(margin=stated_points(claims.margin))
    if comparison.verdict in ("better", "worse") and comparison.within_margin == "alike":
        text += f" by less than {stated_points(claims.margin)} points"
    if comparison.broken_as_failed is not None and comparison.broken_as_failed.is_decisive:
        text += ": depends on broken episodes"
    if assumption := assumption_text(comparison):
        text += f" {assumption}"
    if comparison.claim == "methods" and claims.trainings == "stated":
        text += " (different trainings, as stated)"
    return text


def verdict_tone(comparison: ArmComparison) -> Tone:
    """Good and bad are for verdicts on methods without an assumption."""
    tone = TONES[comparison.verdict]
    return tone if comparison.claim == "methods" or tone == "muted" else ""


def assumption_text(comparison: ArmComparison) -> str:
    """`if seeds vary by 3.5 points`; empty for a verdict without an assumption."""
    if comparison.claim != "assumed" or comparison.verdict == "untested":
        return ""
    return f"if seeds vary by {stated_points(comparison.seed_sd)} points"


def tipping_text(tipping_seed_sd: float | None) -> str:
    """What the noise of training would have to be for a difference of checkpoints to mean more."""
    if tipping_seed_sd is None:
        return ""
    shown = plain_points(tipping_seed_sd)
    if shown == "0":
        return "it says nothing about the methods if seeds vary at all"
    return f"a difference of methods only if seeds vary by less than {shown} points"


def power_text(minimum_detectable: float | None) -> str:
    """What would have been found; empty if that is not known."""
    if minimum_detectable is None:
        return ""
    if minimum_detectable >= 1:
        return "no difference, however large, would be found in 80 % of such experiments"
    return (
        f"a difference of {plain_points(minimum_detectable)} points would be found in 80 % of such "
        "experiments"
    )


def split_label(split: str) -> str:
    """`held_in_test` -> `held-in test`."""
    name = one_line(split, MAX_LABEL).replace("held_in", "held-in").replace("held_out", "held-out")
    return name.replace("_", " ")


def difference_text(comparison: ArmComparison) -> str:
    """`+8.0 points [+2.1, +13.9]`."""
    difference = comparison.success_difference
    return f"{points(difference)} points {points_interval(difference)}".strip()


def stated_points(rate: float | None) -> str:
    """Points that a user gave as a setting, with all their digits."""
    return "" if rate is None else f"{round(100 * rate, 8):.8g}"


def plain_points(rate: float | None) -> str:
    """A positive number of points with one digit after the point, if it has one."""
    return "" if rate is None else f"{round(100 * rate, 1):g}"
