"""Report -> the plot of differences: a row for each comparison, with the margin as a band.

A claim about methods and one about two checkpoints do not look alike: only the first has a filled
mark and a solid interval, and the words beside the row say which it is.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atlas.presenting.marks import (
    WIDTH,
    add_axes,
    draw_mark,
    name_column,
    name_rows,
    new_figure,
    round_ticks,
    write_title,
)
from atlas.presenting.svg import INK, MUTED, RULE, Plot, drawing, finish_plot
from atlas.presenting.wording import MINUS, PERCENT, points, points_interval
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.claims.words import claim_text
from atlas.reporting.page.arm_styles import styled_arms
from atlas.reporting.page.difference_tables import block_title, pair_label
from atlas.reporting.report import ArmComparison, Block, Report
from atlas.terminal.visible_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches.
TOP, BOTTOM, ROW_HEIGHT, VALUE_COLUMN, INTERVAL_COLUMN, WORDS_COLUMN = (
    0.34,
    0.3,
    0.31,
    0.5,
    1.12,
    2.5,
)
WORDS_MARGIN = 0.14
WORDS_CHARS = 48
DASHED = (0, (2.2, 1.6))
SIZE = 6.4


def plot_forest(report: Report, block: Block) -> Plot | None:
    """The comparisons of a block, a panel for each scope; None without comparisons."""
    panels = [
        (scope, rows)
        for scope in report.scopes
        if (rows := [r for r in report.comparisons if r.block == block and r.scope == scope.name])
    ]
    all_rows = [row for _, rows in panels for row in rows]
    if not any(row.success_difference.value is not None for row in all_rows):
        return None
    left = name_column([pair_label(report, row) for row in all_rows])
    width = WIDTH - left - WORDS_MARGIN - VALUE_COLUMN - INTERVAL_COLUMN - WORDS_COLUMN
    reach = _reach(report, all_rows)
    heights = [TOP + BOTTOM + ROW_HEIGHT * len(rows) for _, rows in panels]
    name, described = f"differences-{block}", []
    with drawing(name):
        figure = new_figure(sum(heights))
        bottom = sum(heights)
        for (scope, rows), height in zip(panels, heights, strict=True):
            bottom -= height
            axes = add_axes(figure, left, bottom + BOTTOM, width, ROW_HEIGHT * len(rows))
            name_rows(axes, [pair_label(report, row) for row in rows], left)
            write_title(axes, split_label(scope.name))
            _draw_scale(axes, reach, report.claims.margin)
            sentences = [_draw_row(axes, place, row, report) for place, row in enumerate(rows)]
            described.append(f"{split_label(scope.name)}: {', '.join(sentences)}")
        title = block_title(report, block)
        return finish_plot(figure, name, title, _caption(report, title), "; ".join(described))


def _reach(report: Report, rows: list[ArmComparison]) -> float:
    limits = [abs(limit) for row in rows for limit in row.success_difference.limits or ()]
    return max([0.05, report.claims.margin or 0.0, *limits]) * 1.08


def _draw_scale(axes: Axes, reach: float, margin: float | None) -> None:
    def in_points(value: float, _: float) -> str:
        return "0" if abs(value) < 1e-9 else f"{100 * value:+.0f}".replace("-", MINUS)

    axes.set_xlim(-reach, reach)
    round_ticks(axes.xaxis)
    axes.xaxis.set_major_formatter(in_points)
    axes.xaxis.grid(True, color=RULE, linewidth=0.7)
    axes.axvline(0, color=INK, linewidth=1.0, zorder=1)
    if margin is not None:
        band: dict[str, Any] = {"color": MUTED, "alpha": 0.16, "linewidth": 0, "zorder": 0}
        axes.axvspan(-margin, margin, **band)


def _draw_row(axes: Axes, place: int, row: ArmComparison, report: Report) -> str:
    """Draw a comparison; its words are returned for those who do not see it."""
    styles = {arm.name: style for arm, style in styled_arms(report)}
    style = styles[row.against if row.block == "focus" else row.arm]
    difference, is_of_methods = row.success_difference, row.claim == "methods"
    if difference.limits is not None:
        line: dict[str, Any] = {"linewidth": 2.2, "solid_capstyle": "round", "zorder": 3}
        if not is_of_methods:
            line |= {"linewidth": 1.4, "linestyle": DASHED}
        axes.plot(difference.limits, [place, place], color=style.color, **line)
    if difference.value is not None:
        own = replace(style, hollow=not is_of_methods)
        draw_mark(axes, float(difference.value), place, own, SIZE)
    width = axes.get_position().width * WIDTH
    edge = 1 + WORDS_MARGIN / width
    beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center_baseline"}
    value, interval, words = (
        points(difference),
        points_interval(difference),
        claim_text(row, report),
    )
    axes.text(edge, place, value, fontweight="bold", color=INK, **beside)
    edge += VALUE_COLUMN / width
    axes.text(edge, place, interval, fontsize=7, color=MUTED, **beside)
    edge += INTERVAL_COLUMN / width
    shown = textwrap.wrap(one_line(words), WORDS_CHARS, max_lines=2, placeholder=" …")
    beside["va"] = "center"
    axes.text(edge, place, "\n".join(shown), fontsize=7.2, color=INK, linespacing=1.15, **beside)
    return f"{pair_label(report, row)} {value} {interval}, {words}"


def _caption(report: Report, title: str) -> str:
    margin = report.claims.margin
    band = f" The band is the margin of {100 * margin:g} points." if margin is not None else ""
    return (
        f"{title}: difference of success in percentage points, with {100 * report.confidence:g}"
        f"{PERCENT} interval. Filled marks with solid lines are about the methods; hollow marks "
        f"with dashed lines are not.{band}"
    )
