"""Report -> plots of success over what the training took, and over the budget of steps."""

from __future__ import annotations

from atlas.presenting.marks import LABEL_CHARS
from atlas.presenting.svg import Plot
from atlas.presenting.wording import PERCENT
from atlas.presenting.xy_panels import XYPanel, XYPoint, XYSeries, draw_xy_panels
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.measures.curves import BudgetCurve, budget_curves
from atlas.reporting.page.arm_styles import styled_arms
from atlas.reporting.page.cost_tables import COSTS, cost_share
from atlas.reporting.page.tables import has_rates, shown_rate
from atlas.reporting.report import ArmReport, Report
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

SHARES = {
    "supervised_step_share": "Share of supervised steps",
    "supervised_token_share": "Share of supervised tokens",
}


def plot_cost(report: Report) -> Plot | None:
    """Success over supervised tokens and over training time, both relative to the reference.

    None if fewer than two arms have a known cost.
    """
    against = report.arm(report.reference)
    trained = [(arm, style) for arm, style in styled_arms(report) if arm.budget is not None]
    costs = {
        field: label
        for field, label in COSTS.items()
        if sum(cost_share(arm, against, field) is not None for arm, _ in trained) > 1
    }
    if not costs or not has_rates(report):
        return None
    panels = [
        XYPanel(
            split_label(scope.name),
            f"{label}, in percent of that of {one_line(against.label, LABEL_CHARS)}",
            tuple(
                XYSeries(
                    arm.label,
                    style,
                    (
                        XYPoint(
                            cost_share(arm, against, field), shown_rate(report, arm.scopes[index])
                        ),
                    ),
                )
                for arm, style in trained
            ),
            _untuned(report, index),
        )
        for index, scope in enumerate(report.scopes)
        for field, label in costs.items()
    ]
    caption = (
        f"Success rate with {100 * report.confidence:g}{PERCENT} interval over what the training "
        f"took, relative to {against.label}. Further left is cheaper; marks at one place are drawn "
        f"side by side.{_about_level(report)}"
    )
    return draw_xy_panels("cost", "Success over cost", caption, panels, len(costs))


def plot_curves(report: Report) -> Plot | None:
    """Success over the share of supervised steps and of supervised tokens, a curve per selector.

    None if no selector has arms with different shares.
    """
    curves = budget_curves(report)
    if not curves or not has_rates(report):
        return None
    styles = {arm.name: style for arm, style in styled_arms(report)}

    def series(index: int, field: str) -> tuple[XYSeries, ...]:
        return tuple(
            XYSeries(
                curve.title,
                styles[_first(curve).name],
                tuple(_point(report, arm, index, field) for arm in curve.arms),
                is_curve=True,
            )
            for curve in curves
        )

    panels = [
        XYPanel(split_label(scope.name), label, series(index, field), _untuned(report, index))
        for index, scope in enumerate(report.scopes)
        for field, label in SHARES.items()
    ]
    caption = (
        f"Success rate with {100 * report.confidence:g}{PERCENT} interval over the budget, a curve "
        "for each selector. At the right end, where there is such an arm, all steps are "
        f"supervised: there, the curves meet.{_about_level(report)}"
    )
    return draw_xy_panels("curves", "Success over budget", caption, panels, len(SHARES))


def _first(curve: BudgetCurve) -> ArmReport:
    """The arm whose style a curve has: the focus, if it is one of the curve."""
    return next((arm for arm in curve.arms if arm.role == "focus"), curve.arms[0])


def _point(report: Report, arm: ArmReport, index: int, field: str) -> XYPoint:
    share = getattr(arm.budget, field).value if arm.budget else None
    return XYPoint(share, shown_rate(report, arm.scopes[index]))


def _untuned(report: Report, index: int) -> Estimate:
    if report.base is None:
        return Estimate()
    return Estimate(value=shown_rate(report, report.arm(report.base).scopes[index]).value)


def _about_level(report: Report) -> str:
    return "" if report.base is None else f" The dotted line is {report.arm(report.base).label}."
