"""A row of panels that share the axis of a rate: estimates over a number, as marks or as curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.presenting.marks import (
    DOTTED,
    LABEL_CHARS,
    WIDTH,
    MarkStyle,
    add_axes,
    draw_legend,
    draw_mark,
    mark_handle,
    new_figure,
    round_ticks,
)
from atlas.presenting.svg import INK, MUTED, RULE, Plot, drawing, finish_plot
from atlas.presenting.wording import PERCENT
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches.
LEFT, GAP, TOP, BOTTOM, PANEL_HEIGHT, MARGIN = 0.62, 0.3, 0.34, 0.52, 1.9, 0.1
LEGEND_LINE, ENTRIES_PER_LINE = 0.2, 4
SIZE = 6.0
# Single marks are drawn this share of the axis apart, so that equal places do not hide each other.
DODGE = 0.012


@dataclass(frozen=True, slots=True)
class XYPoint:
    """An estimate at a place; nothing is drawn without both values."""

    x: float | None
    y: Estimate


@dataclass(frozen=True, slots=True)
class XYSeries:
    """Points with the same style; a curve joins them in the order of x."""

    label: str
    style: MarkStyle
    points: tuple[XYPoint, ...]
    is_curve: bool = False


@dataclass(frozen=True, slots=True)
class XYPanel:
    """One panel: its title, the label of its x axis, its series, and a rate as a dotted line."""

    title: str
    x_label: str
    series: tuple[XYSeries, ...]
    level: Estimate


def draw_xy_panels(
    name: str, title: str, caption: str, panels: Sequence[XYPanel], columns: int
) -> Plot:
    """The panels (at least one), `columns` in a row, with one legend; x is in percent from 0."""
    lines = math.ceil(len(panels) / columns)
    entries = {one.label: one for panel in panels for one in panel.series}
    per_line = min(ENTRIES_PER_LINE, len(entries))
    top = LEGEND_LINE * math.ceil(len(entries) / ENTRIES_PER_LINE) + 0.1
    line_height = TOP + PANEL_HEIGHT + BOTTOM
    height, width = top + lines * line_height, (WIDTH - LEFT - MARGIN) / columns - GAP
    with drawing(name):
        figure = new_figure(height)
        for place, panel in enumerate(panels):
            line, column = divmod(place, columns)
            bottom = (lines - line - 1) * line_height + BOTTOM
            axes = add_axes(figure, LEFT + column * (width + GAP), bottom, width, PANEL_HEIGHT)
            _draw_panel(axes, panel, is_first=column == 0)
        handles = [mark_handle(label, one.style) for label, one in entries.items()]
        draw_legend(figure, handles, columns=per_line)
        described = "The numbers are those of the table beside it."
        return finish_plot(figure, name, title, caption, described)


def _draw_panel(axes: Axes, panel: XYPanel, is_first: bool) -> None:
    text = one_line(panel.title, 2 * LABEL_CHARS)
    axes.set_title(text, loc="left", fontsize=8.5, fontweight="bold", color=INK, pad=8)
    axes.set_xlabel(panel.x_label, fontsize=7.5, labelpad=5)
    axes.grid(True, color=RULE, linewidth=0.7)
    points = [point for one in panel.series for point in one.points if _is_shown(point)]
    _set_limits(axes, points, panel.level)
    axes.tick_params(axis="y", labelleft=is_first, labelsize=7.5)
    if is_first:
        axes.set_ylabel("Success rate", fontsize=7.5, labelpad=4)
    if panel.level.value is not None:
        axes.axhline(panel.level.value, color=MUTED, linewidth=0.9, linestyle=DOTTED, zorder=1)
    shifts = _shifts(panel.series, DODGE * axes.get_xlim()[1])
    for one in panel.series:
        _draw_series(axes, one, shifts.get(one.label, 0.0))


def _shifts(series: Sequence[XYSeries], width: float) -> dict[str, float]:
    """How far single marks are moved, so that those at one place stand side by side."""
    single = [one for one in series if not one.is_curve and one.points[0].x is not None]
    placed = sorted(single, key=lambda one: one.points[0].x or 0.0)
    groups: list[list[XYSeries]] = []
    for one in placed:
        near = groups and (one.points[0].x or 0.0) - (groups[-1][-1].points[0].x or 0.0) < width
        if near:
            groups[-1].append(one)
        else:
            groups.append([one])
    return {
        one.label: (place - (len(group) - 1) / 2) * width
        for group in groups
        for place, one in enumerate(group)
    }


def _set_limits(axes: Axes, points: Sequence[XYPoint], level: Estimate) -> None:
    """Limits from 0 to a little more than the largest value, at most 100 % of a rate."""
    places = [point.x for point in points if point.x is not None]
    tops = [float(limit) for point in points for limit in _values(point.y)] + [*_values(level)]
    axes.set_xlim(0, 1.08 * max(places, default=1.0) or 1.0)
    axes.set_ylim(0, min(1.02, 1.08 * max([0.05, *tops])))

    def in_percent(value: float, _: float) -> str:
        return f"{100 * value:.0f}{PERCENT}" if value else "0"

    for axis in (axes.xaxis, axes.yaxis):
        round_ticks(axis)
    axes.xaxis.set_major_formatter(in_percent)
    axes.yaxis.set_major_formatter(in_percent)


def _draw_series(axes: Axes, series: XYSeries, shift: float) -> None:
    style = series.style
    points = sorted(
        (float(point.x) + shift, float(point.y.value), point.y.limits)
        for point in series.points
        if point.x is not None and point.y.value is not None
    )
    if series.is_curve and len(points) > 1:
        xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
        axes.plot(xs, ys, color=style.color, linewidth=1.3, zorder=2)
    for x, y, limits in points:
        if limits is not None:
            line: dict[str, Any] = {"linewidth": 1.6, "solid_capstyle": "round", "zorder": 3}
            axes.plot([x, x], limits, color=style.color, **line)
        draw_mark(axes, x, y, style, SIZE)


def _is_shown(point: XYPoint) -> bool:
    return point.x is not None and point.y.value is not None


def _values(estimate: Estimate) -> list[float]:
    given = (estimate.low, estimate.value, estimate.high)
    return [float(value) for value in given if value is not None]
