"""The plot of the positions of selected steps: a panel of bars for each selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.presenting.marks import DOTTED, WIDTH, add_axes, draw_legend, new_figure, write_title
from atlas.presenting.svg import INK, RULE, Plot, drawing, finish_plot
from atlas.presenting.wording import PERCENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS_PER_ROW = 3
ROW_HEIGHT, PANEL_HEIGHT, LEFT, GAP, LEGEND_HEIGHT = 1.9, 1.28, 0.5, 0.3, 0.3
BAR_WIDTH = 0.84


@dataclass(frozen=True, slots=True)
class PositionPanel:
    """One selection: bars over equal parts of the trajectory, and a dotted line.

    `bars` holds the selected share in each part, stacked, by stand-in color.
    """

    label: str
    bars: dict[str, tuple[float, ...]]
    line: tuple[float, ...]


def draw_positions(
    panels: Sequence[PositionPanel],
    title: str,
    caption: str,
    description: str,
    legend: dict[str, str] | None = None,
    line_label: str = "",
) -> Plot:
    """The panels (at least one) in rows, all with the same height of the axis.

    Args:
        description: the numbers in words, for screen readers.
        legend: label by stand-in color; no legend, if None.
        line_label: label of the dotted line in the legend.
    """
    columns = max(2, min(PANELS_PER_ROW, len(panels)))
    num_rows = math.ceil(len(panels) / columns)
    height = num_rows * ROW_HEIGHT + (LEGEND_HEIGHT if legend else 0.0)
    width = (WIDTH - LEFT - GAP * (columns - 1)) / columns
    tops = (sum(part) for panel in panels for part in zip(*panel.bars.values(), strict=True))
    top = min(1.0, max(0.05, *tops) * 1.12)
    with drawing("positions"):
        figure = new_figure(height)
        for place, panel in enumerate(panels):
            row, column = divmod(place, columns)
            bottom = (num_rows - row - 1) * ROW_HEIGHT + 0.28
            left = LEFT + column * (width + GAP)
            axes = add_axes(figure, left, bottom, width, PANEL_HEIGHT)
            _draw_panel(axes, panel)
            axes.set_ylim(0, top)
            axes.tick_params(axis="y", labelleft=column == 0, labelsize=7.5)
        if legend:
            draw_legend(figure, _legend_handles(legend, line_label), columns=len(legend) + 1)
        return finish_plot(figure, "positions", title, caption, description)


def _legend_handles(legend: dict[str, str], line_label: str) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=color, label=label) for color, label in legend.items()]
    return [*handles, Line2D([0], [0], color=INK, linestyle=DOTTED, label=line_label)]


def _draw_panel(axes: Axes, panel: PositionPanel) -> None:
    write_title(axes, panel.label)
    num_parts = len(panel.line)
    centers = [(part + 0.5) / num_parts for part in range(num_parts)]
    base = (0.0,) * num_parts
    for color, heights in panel.bars.items():
        width = BAR_WIDTH / num_parts
        axes.bar(centers, heights, bottom=base, width=width, color=color, linewidth=0, zorder=2)
        base = tuple(low + more for low, more in zip(base, heights, strict=True))
    edges = [part / num_parts for part in range(num_parts + 1)]
    axes.stairs(panel.line, edges, baseline=None, color=INK, linestyle=DOTTED, zorder=3)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["start", "middle", "end"])
    first, _, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}{PERCENT}" if value else "0")
    axes.yaxis.grid(True, color=RULE, linewidth=0.7)
