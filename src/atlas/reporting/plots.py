"""Report -> plots: dots with intervals wherever a number is an estimate. An arm keeps its colour and its mark in all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.reporting.marks import (
    LABEL_CHARS,
    WIDTH,
    ArmStyle,
    arm_styles,
    draw_estimate,
    draw_legend,
    name_column,
    name_rows,
    new_figure,
    strip_axes,
    use_percent_axis,
    write_title,
)
from atlas.reporting.report import ArmReport, Number, Report
from atlas.reporting.svg import BAND, INK, MUTED, RULE, drawing, write_svg
from atlas.reporting.tables import groups_in_order
from atlas.reporting.wording import (
    MINUS,
    PERCENT,
    clean,
    percent,
    percent_interval,
    points,
    points_interval,
    split_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panel = Sequence[tuple[ArmReport, ArmStyle, Number]]
PANELS_PER_ROW = 2
BARS_PER_ROW = 3
DOTTED = (0, (2, 3))


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot with what it shows in words; `svg` is still painted with stand-in colours (see svg.py)."""

    name: str
    title: str
    caption: str
    svg: str


def plot_success(report: Report) -> Plot:
    """Success rate with interval, a panel for each split."""
    panels = [
        [
            (arm, style, arm.results[index].total.success_rate)
            for arm, style in zip(report.arms, arm_styles(report), strict=True)
        ]
        for index in range(len(report.splits))
    ]
    reference = next(index for index, arm in enumerate(report.arms) if arm.name == report.reference)

    def finish(axes: Axes, panel: Panel) -> None:
        use_percent_axis(axes)
        rate = panel[reference][2].value
        if rate is not None and len(panel) > 1:
            axes.axvline(rate, color=MUTED, linewidth=0.9, linestyle=DOTTED, zorder=1)

    title = "Success rate of each arm"
    svg = _draw_panels(
        "success",
        title,
        report,
        panels,
        lambda rate: (percent(rate), percent_interval(rate)),
        finish,
    )
    caption = f"Success rate with {100 * report.confidence:g}{PERCENT} interval."
    if len(report.arms) > 1:
        caption += f" The dotted line is {report.arms[reference].label}."
    return Plot("success", title, caption, svg)


def plot_differences(report: Report) -> Plot | None:
    """Paired differences to the reference with interval, a panel for each split; None where there is nothing to compare."""
    styles = {arm.name: style for arm, style in zip(report.arms, arm_styles(report), strict=True)}
    panels = [
        [
            (report.arm(row.arm), styles[row.arm], row.success_difference)
            for row in report.comparisons
            if row.family == "reference" and row.split == split
        ]
        for split in report.splits
    ]
    if not panels[0]:
        return None
    limits = [
        abs(limit)
        for panel in panels
        for _, _, number in panel
        for limit in (number.low, number.high)
        if limit is not None
    ]
    reach = max([0.05, *limits]) * 1.08

    def finish(axes: Axes, panel: Panel) -> None:
        axes.set_xlim(-reach, reach)
        axes.xaxis.set_major_formatter(
            lambda value, _: "0" if abs(value) < 1e-9 else f"{100 * value:+.0f}".replace("-", MINUS)
        )
        axes.xaxis.grid(True, color=RULE, linewidth=0.7)
        axes.axvline(0, color=INK, linewidth=1.0, zorder=1)

    label = report.arm(report.reference).label
    title = f"Difference to {label}"
    svg = _draw_panels(
        "differences",
        title,
        report,
        panels,
        lambda number: (points(number), points_interval(number)),
        finish,
    )
    caption = (
        f"Success rate minus that of {label} on the same tasks, in percentage points, with {100 * report.confidence:g}{PERCENT} "
        "interval. Right of the line is better."
    )
    return Plot("differences", title, caption, svg)


def plot_groups(report: Report, split: str) -> Plot | None:
    """Success per task group on one split, all arms in each row; None where the tasks have no groups."""
    index, groups = report.splits.index(split), groups_in_order(report, split)
    if not groups:
        return None
    name, styles, title = (
        f"groups-{index + 1}",
        arm_styles(report),
        f"Success per task group, {split_label(split)}",
    )
    lane = 0.135  # inches for one arm
    plot_height = len(groups) * (lane * len(styles) + 0.12)
    top, bottom, column = 0.34 + 0.2 * ((len(styles) - 1) // 5), 0.28, name_column(groups)
    height = plot_height + top + bottom
    with drawing(name):
        figure = new_figure(height)
        axes = figure.add_axes(
            (column / WIDTH, bottom / height, (WIDTH - column - 0.12) / WIDTH, plot_height / height)
        )
        strip_axes(axes)
        name_rows(axes, groups, column)
        use_percent_axis(axes)
        axes.text(
            0,
            1,
            split_label(split),
            transform=figure.transFigure,
            va="top",
            fontsize=8.5,
            fontweight="bold",
            color=INK,
        )
        for row, group in enumerate(groups):
            if row % 2 == 0:
                axes.axhspan(
                    row - 0.5,
                    row + 0.5,
                    xmin=-column / (WIDTH - column - 0.12),
                    clip_on=False,
                    color=BAND,
                    linewidth=0,
                    zorder=0,
                )
            for position, (arm, style) in enumerate(zip(report.arms, styles, strict=True)):
                offset = (position - (len(styles) - 1) / 2) * lane * len(groups) / plot_height
                draw_estimate(
                    axes,
                    row + offset,
                    arm.results[index].groups[group].success_rate,
                    style,
                    size=5.2,
                )
        draw_legend(figure, report.arms, styles)
        svg = write_svg(
            figure, name, title, "The numbers are those of the table with the same name."
        )
    return Plot(
        name, title, f"Success rate with {100 * report.confidence:g}{PERCENT} interval.", svg
    )


def plot_positions(report: Report) -> Plot | None:
    """The selected share of the steps in each tenth of the trajectory; None where every arm takes all steps."""
    shown = [
        (arm, style, arm.selection)
        for arm, style in zip(report.arms, arm_styles(report), strict=True)
        if arm.selection is not None and 0 < arm.selection.num_selected < arm.selection.num_steps
    ]
    if not shown:
        return None
    columns = max(2, min(BARS_PER_ROW, len(shown)))
    num_rows = math.ceil(len(shown) / columns)
    row_height, title = 1.9, "Where the selected steps lie"
    shares = [
        [part.num_selected / part.num_steps if part.num_steps else 0.0 for part in profile.bins]
        for _, _, profile in shown
    ]
    width = (WIDTH - 0.5 - 0.3 * (columns - 1)) / columns
    with drawing("positions"):
        figure = new_figure(num_rows * row_height)
        for place, ((arm, style, profile), heights) in enumerate(zip(shown, shares, strict=True)):
            row, column = divmod(place, columns)
            left = 0.5 + column * (width + 0.3)
            bottom = (num_rows - row - 1) * row_height + 0.28
            axes = figure.add_axes(
                (
                    left / WIDTH,
                    bottom / (num_rows * row_height),
                    width / WIDTH,
                    1.28 / (num_rows * row_height),
                )
            )
            strip_axes(axes)
            write_title(axes, clean(arm.label, LABEL_CHARS))
            centres = [(part.low + part.high) / 2 for part in profile.bins]
            axes.bar(centres, heights, width=0.084, color=style.colour, linewidth=0, zorder=2)
            axes.axhline(
                profile.num_selected / profile.num_steps,
                color=INK,
                linewidth=0.9,
                linestyle=DOTTED,
                zorder=3,
            )
            axes.set_xlim(0, 1)
            axes.set_ylim(0, min(1.0, max(map(max, shares)) * 1.12))
            axes.set_xticks([0, 0.5, 1], ["start", "middle", "end"])
            first, _, last = axes.get_xticklabels()
            first.set_horizontalalignment("left")
            last.set_horizontalalignment("right")
            axes.yaxis.set_major_formatter(
                lambda value, _: f"{100 * value:.0f}{PERCENT}" if value else "0"
            )
            axes.yaxis.grid(True, color=RULE, linewidth=0.7)
            axes.tick_params(axis="y", labelleft=column == 0, labelsize=7.5)
        svg = write_svg(figure, "positions", title, "The numbers are those of the table of tenths.")
    caption = "Share of the steps in each tenth of the trajectory that were selected. The dotted line is the share over all steps."
    return Plot("positions", title, caption, svg)


def plot_losses(report: Report) -> Plot | None:
    """Training loss over optimiser steps, each run thin and its running mean thick; None where nothing was logged."""
    shown = [
        (arm, style)
        for arm, style in zip(report.arms, arm_styles(report), strict=True)
        if arm.losses
    ]
    if not shown:
        return None
    title = "Training loss"
    with drawing("losses"):
        figure = new_figure(3.1)
        axes = figure.add_axes((0.5 / WIDTH, 0.14, (WIDTH - 0.62) / WIDTH, 0.73))
        strip_axes(axes)
        axes.yaxis.grid(True, color=RULE, linewidth=0.7)
        for arm, style in shown:
            thick = 1.7 if len(arm.losses) == 1 else 1.1
            for curve in arm.losses:
                axes.plot(
                    curve.steps,
                    curve.losses,
                    color=style.colour,
                    linewidth=0.4 * thick,
                    alpha=0.35,
                    zorder=2,
                )
                axes.plot(
                    curve.steps,
                    running_mean(curve.losses),
                    color=style.colour,
                    linewidth=thick,
                    zorder=3,
                    solid_capstyle="round",
                )
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.set_xlabel("Optimiser step", fontsize=7.5, labelpad=5)
        draw_legend(figure, [arm for arm, _ in shown], [style for _, style in shown], lines=True)
        told = [
            f"{arm.label} from {curve.losses[0]:.3f} to {curve.losses[-1]:.3f}"
            for arm, _ in shown
            for curve in arm.losses
        ]
        svg = write_svg(figure, "losses", title, "; ".join(told))
    return Plot(
        "losses",
        title,
        "Loss per supervised token, in nats, at each optimiser step (thin) and its running mean (thick).",
        svg,
    )


def running_mean(values: Sequence[float]) -> list[float]:
    """The mean over a centred window of a twentieth of the curve, narrower at its ends."""
    half = len(values) // 40
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _draw_panels(
    name: str,
    title: str,
    report: Report,
    panels: Sequence[Panel],
    words: Callable[[Number], tuple[str, str]],
    finish: Callable[[Axes, Panel], None],
) -> str:
    """A panel for each split, an arm a row: its name at the left, mark and interval, the number in words at the right."""
    num_rows, num_lines = len(panels[0]), math.ceil(len(panels) / PANELS_PER_ROW)
    columns = min(PANELS_PER_ROW, len(panels))
    names = [arm.label for arm, _, _ in panels[0]]
    top, bottom, plot_height, value_column, words_column, gap = (
        0.32,
        0.3,
        0.31 * num_rows,
        0.5,
        1.42,
        0.2,
    )  # inches
    line_height, left = top + plot_height + bottom, name_column(names)
    width = (WIDTH - left - columns * words_column - (columns - 1) * gap) / columns
    height = num_lines * line_height
    with drawing(name):
        figure = new_figure(height)
        for place, panel in enumerate(panels):
            line, column = divmod(place, columns)
            start = left + column * (width + words_column + gap)
            axes = figure.add_axes(
                (
                    start / WIDTH,
                    ((num_lines - line - 1) * line_height + bottom) / height,
                    width / WIDTH,
                    plot_height / height,
                )
            )
            strip_axes(axes)
            name_rows(axes, names, left)
            axes.tick_params(axis="y", labelleft=column == 0)
            finish(axes, panel)
            write_title(axes, split_label(report.splits[place]))
            for row, (_, style, number) in enumerate(panel):
                draw_estimate(axes, row, number, style, size=6.4)
                value, interval = words(number)
                right = axes.get_yaxis_transform()
                axes.text(
                    1 + 0.14 / width,
                    row,
                    value,
                    transform=right,
                    va="center_baseline",
                    fontweight="bold",
                    color=INK,
                )
                axes.text(
                    1 + (0.14 + value_column) / width,
                    row,
                    interval,
                    transform=right,
                    va="center_baseline",
                    fontsize=7,
                    color=MUTED,
                )
        told = "; ".join(
            f"{split_label(split)}: "
            + ", ".join(f"{arm.label} {' '.join(words(number))}" for arm, _, number in panel)
            for split, panel in zip(report.splits, panels, strict=True)
        )
        return write_svg(figure, name, title, told)
