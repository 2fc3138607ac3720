"""The hand that draws: colour and mark of each arm, a dot with its interval, bare axes, a legend.

The colours are apart for colour-blind eyes, and never alone: each arm also has a mark of its own and its name beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.reporting.report import ArmReport, Number, Report
from atlas.reporting.svg import BASE, CONTROLS, FOCUS, INK, PAPER, REFERENCE, RULE
from atlas.reporting.wording import PERCENT, clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 9.2  # inches; the page shows it about 1.5 times as large, so that type of 8 points reads like the page's own
CONTROL_MARKS = ("s", "^", "v", "P", "X")
LABEL_CHARS = 26


@dataclass(frozen=True, slots=True)
class ArmStyle:
    """How an arm looks: a stand-in colour (see svg.py), a matplotlib marker, filled or hollow."""

    colour: str
    mark: str
    hollow: bool = False


def arm_styles(report: Report) -> tuple[ArmStyle, ...]:
    """Colour and mark of each arm, by its role; controls take theirs in the order of the report, hollow from the sixth on."""
    roles = {
        "base": ArmStyle(BASE, "o", hollow=True),
        "reference": ArmStyle(REFERENCE, "D"),
        "focus": ArmStyle(FOCUS, "o"),
    }
    styles, control = [], 0
    for arm in report.arms:
        if arm.role == "control":
            place = control % len(CONTROLS)
            styles.append(
                ArmStyle(CONTROLS[place], CONTROL_MARKS[place], hollow=control >= len(CONTROLS))
            )
            control += 1
        else:
            styles.append(roles[arm.role])
    return tuple(styles)


def new_figure(height: float) -> Figure:
    """A figure of the page's width, `height` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height))


def draw_estimate(axes: Axes, y: float, number: Number, style: ArmStyle, size: float) -> None:
    """A mark at the value on a line from low to high; nothing where there is no value."""
    if number.value is None:
        return
    if number.low is not None and number.high is not None:
        axes.plot(
            [number.low, number.high],
            [y, y],
            color=style.colour,
            linewidth=size * 0.34,
            solid_capstyle="round",
            zorder=3,
        )
    grown = size * {"^": 1.15, "v": 1.15, "D": 0.88, "s": 0.94}.get(
        style.mark, 1.0
    )  # so that all marks look the same size
    face, edge, edge_width = (
        (PAPER, style.colour, 0.24) if style.hollow else (style.colour, PAPER, 0.13)
    )
    axes.plot(
        [number.value],
        [y],
        marker=style.mark,
        markersize=grown,
        color=style.colour,
        markerfacecolor=face,
        markeredgecolor=edge,
        markeredgewidth=size * edge_width,
        zorder=4,
    )


def draw_legend(
    figure: Figure, arms: Sequence[ArmReport], styles: Sequence[ArmStyle], lines: bool = False
) -> None:
    """The arms in a row at the upper right, as marks on a short line, or as lines alone."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [0],
            [0],
            color=style.colour,
            linewidth=1.7,
            marker="" if lines else style.mark,
            markersize=5.5,
            markerfacecolor=PAPER if style.hollow else style.colour,
            markeredgecolor=style.colour,
            label=clean(arm.label, LABEL_CHARS),
        )
        for arm, style in zip(arms, styles, strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=5,
        frameon=False,
        borderpad=0.1,
        borderaxespad=0,
        handlelength=1.7,
        handletextpad=0.6,
        columnspacing=1.5,
    )


def strip_axes(axes: Axes) -> None:
    """No frame, no tick marks."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=7.5, pad=5)
    axes.tick_params(axis="y", length=0, labelsize=8, pad=7)
    axes.set_axisbelow(True)


def write_title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=8.5, fontweight="bold", color=INK, pad=8)


def use_percent_axis(axes: Axes) -> None:
    """0 to 100 %, with room for a mark at either end."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", f"100{PERCENT}"])
    axes.xaxis.grid(True, color=RULE, linewidth=0.7)


def name_rows(axes: Axes, names: Sequence[str], column: float) -> None:
    """The rows from top to bottom, their names flush left `column` inches before the axes."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [clean(name, LABEL_CHARS) for name in names], color=INK)
    axes.tick_params(axis="y", pad=column * 72)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")


def name_column(names: Sequence[str]) -> float:
    """Inches that the longest of the names needs in type of 8 points, with some air."""
    return 0.068 * max(min(len(clean(name)), LABEL_CHARS) for name in names) + 0.22
