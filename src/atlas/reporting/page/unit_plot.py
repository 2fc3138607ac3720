"""Report -> the plot of success per environment or task group, all arms in each row."""

from __future__ import annotations

from typing import Any

from atlas.presenting.marks import (
    WIDTH,
    MarkStyle,
    add_axes,
    draw_estimate,
    draw_legend,
    mark_handle,
    name_column,
    name_rows,
    new_figure,
    use_percent_axis,
)
from atlas.presenting.svg import BAND, INK, Plot, drawing, finish_plot
from atlas.presenting.wording import PERCENT
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.page.arm_styles import styled_arms
from atlas.reporting.page.unit_tables import KINDS, units_in_order
from atlas.reporting.report import ArmReport, Report, Scope

# Height of one arm and margin at the right, in inches.
LANE, MARGIN = 0.135, 0.12
LEGEND_LINE, ENTRIES_PER_LINE = 0.2, 5
# With more marks than this, only the arms with a role are drawn; the table has all.
MOST_MARKS = 90


def plot_units(report: Report, scope: Scope) -> Plot | None:
    """Success of each arm on each unit of a scope; None without units."""
    units = units_in_order(report, scope)
    if not any(one.success_rate.value is not None for unit in units for one in unit.arms):
        return None
    arms = _drawn_arms(report, len(units))
    name, names = f"units-{report.scopes.index(scope) + 1}", [unit.unit for unit in units]
    title = f"Success per {KINDS[units[0].kind]}, {split_label(scope.name)}"
    plot_height = len(units) * (LANE * len(arms) + 0.12)
    top = 0.34 + LEGEND_LINE * ((len(arms) - 1) // ENTRIES_PER_LINE + 1)
    bottom, column = 0.28, name_column(names)
    width = WIDTH - column - MARGIN
    with drawing(name):
        figure = new_figure(plot_height + top + bottom)
        axes = add_axes(figure, column, bottom, width, plot_height)
        name_rows(axes, names, column)
        use_percent_axis(axes)
        heading = 1 - (top - 0.3) / (plot_height + top + bottom)
        place: dict[str, Any] = {"va": "top", "fontsize": 8.5, "fontweight": "bold", "color": INK}
        figure.text(0, heading, split_label(scope.name), **place)
        band: dict[str, Any] = {"clip_on": False, "color": BAND, "linewidth": 0, "zorder": 0}
        for row, unit in enumerate(units):
            if row % 2 == 0:
                axes.axhspan(row - 0.5, row + 0.5, xmin=-column / width, **band)
            rates = {one.arm: one.success_rate for one in unit.arms}
            for position, (arm, style) in enumerate(arms):
                offset = (position - (len(arms) - 1) / 2) * LANE * len(units) / plot_height
                draw_estimate(axes, row + offset, rates[arm.name], style, size=5.2)
        handles = [mark_handle(arm.label, style) for arm, style in arms]
        draw_legend(figure, handles, columns=min(ENTRIES_PER_LINE, len(handles)))
        described = "The numbers are those of the table with the same name."
        caption = f"Success rate with {100 * report.confidence:g}{PERCENT} interval."
        if len(arms) < len(report.arms):
            caption += " The other arms are in the table."
        return finish_plot(figure, name, title, caption, described)


def _drawn_arms(report: Report, num_units: int) -> list[tuple[ArmReport, MarkStyle]]:
    arms = styled_arms(report)
    if len(arms) * num_units <= MOST_MARKS:
        return arms
    return [(arm, style) for arm, style in arms if arm.role != "control"]
