"""Marks and axes of all plots: a dot with its interval, bare axes, rows with names, a legend.

Color-blind readers can distinguish the colors. Each series also has its own mark, and its name is
next to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.presenting.svg import INK, PAPER, RULE
from atlas.presenting.wording import PERCENT
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Inches. The page shows a plot about 1.5 times as large, so a font of 8 points looks like the text.
WIDTH = 9.2
LABEL_CHARS = 26
DOTTED = (0, (2, 3))
# Factors that make all marks look the same size.
MARK_SIZES = {"^": 1.15, "v": 1.15, "D": 0.88, "s": 0.94}


@dataclass(frozen=True, slots=True)
class MarkStyle:
    """The style of a series: a stand-in color (see svg.py), and a filled or hollow marker."""

    color: str
    mark: str
    hollow: bool = False


def new_figure(height: float) -> Figure:
    """A figure of the page's width, `height` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height))


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Bare axes at a place that is given in inches."""
    whole = figure.get_figheight()
    axes = figure.add_axes((left / WIDTH, bottom / whole, width / WIDTH, height / whole))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=7.5, pad=5)
    axes.tick_params(axis="y", length=0, labelsize=8, pad=7)
    axes.set_axisbelow(True)
    return axes


def draw_estimate(axes: Axes, y: float, number: Estimate, style: MarkStyle, size: float) -> None:
    """Draw a mark at the value on a line from low to high; nothing without a value."""
    if number.value is None:
        return
    if number.limits is not None:
        line: dict[str, Any] = {"linewidth": size * 0.34, "solid_capstyle": "round", "zorder": 3}
        axes.plot(number.limits, [y, y], color=style.color, **line)
    draw_mark(axes, float(number.value), y, style, size)


def draw_mark(axes: Axes, x: float, y: float, style: MarkStyle, size: float) -> None:
    """Draw the mark of a series at one place."""
    color = style.color
    face, edge, edge_width = (PAPER, color, 0.24) if style.hollow else (color, PAPER, 0.13)
    axes.plot(
        [x],
        [y],
        marker=style.mark,
        markersize=size * MARK_SIZES.get(style.mark, 1.0),
        color=color,
        markerfacecolor=face,
        markeredgecolor=edge,
        markeredgewidth=size * edge_width,
        zorder=4,
    )


def mark_handle(label: str, style: MarkStyle) -> Any:
    """An entry of a legend: a mark on a short line."""
    from matplotlib.lines import Line2D

    return Line2D(
        [0],
        [0],
        color=style.color,
        linewidth=1.7,
        marker=style.mark,
        markersize=5.5,
        markerfacecolor=PAPER if style.hollow else style.color,
        markeredgecolor=style.color,
        label=one_line(label, LABEL_CHARS),
    )


def draw_legend(figure: Figure, handles: Sequence[Any], columns: int = 5) -> None:
    """The entries in a row at the upper left, where a narrow screen begins to show the plot."""
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.0, 1.0), "ncols": columns}
    spaces = {"borderpad": 0.1, "borderaxespad": 0, "handlelength": 1.7, "handletextpad": 0.6}
    figure.legend(handles=list(handles), frameon=False, columnspacing=1.5, **place, **spaces)


def write_title(axes: Axes, title: str) -> None:
    """A title above the axes, flush left."""
    text = one_line(title, LABEL_CHARS)
    axes.set_title(text, loc="left", fontsize=8.5, fontweight="bold", color=INK, pad=8)


def round_ticks(axis: Axis) -> None:
    """Ticks whose labels need no further digit: a tick at 2.5 would be labeled 2 or 3."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10]))


def use_percent_axis(axes: Axes) -> None:
    """An axis from 0 to 100 %, with room for a mark at both ends."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"100{PERCENT}"])
    axes.xaxis.grid(True, color=RULE, linewidth=0.7)


def name_rows(axes: Axes, names: Sequence[str], column: float) -> None:
    """Write the names of rows, top to bottom, left-aligned `column` inches before the axes."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    labels = [one_line(name, LABEL_CHARS) for name in names]
    axes.set_yticks(range(len(names)), labels, color=INK)
    axes.tick_params(axis="y", pad=column * 72)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")


def name_column(names: Sequence[str]) -> float:
    """Width in inches of the longest name in a font of 8 points, plus some space."""
    return 0.068 * max(len(one_line(name, LABEL_CHARS)) for name in names) + 0.22
