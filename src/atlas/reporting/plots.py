"""Report -> plots: a dot with its interval wherever a number is an estimate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.presenting.marks import (
    DOTTED,
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
    write_title,
)
from atlas.presenting.position_plot import PositionPanel, draw_positions
from atlas.presenting.svg import BAND, INK, MUTED, RULE, Plot, drawing, write_svg
from atlas.presenting.wording import (
    MINUS,
    PERCENT,
    percent,
    percent_interval,
    points,
    points_interval,
)
from atlas.reporting.arm_styles import arm_styles
from atlas.reporting.report import ArmReport, Report
from atlas.reporting.tables import groups_in_order
from atlas.reporting.verdicts import split_label
from atlas.statistics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PanelRows = Sequence[tuple[ArmReport, MarkStyle, Estimate]]
PANELS_PER_ROW = 2
# Heights and widths of the panels, in inches.
TOP, BOTTOM, ROW_HEIGHT, VALUE_COLUMN, WORDS_COLUMN, PANEL_GAP = 0.32, 0.3, 0.31, 0.5, 1.42, 0.2
WORDS_MARGIN = 0.14
# Height of one arm in the plot of task groups, in inches, and the margin at the right.
LANE, MARGIN = 0.135, 0.12


def plot_success(report: Report) -> Plot:
    """Success rate with interval, a panel for each split."""
    arms = list(zip(report.arms, arm_styles(report), strict=True))
    panels = [
        [(arm, style, arm.results[index].total.success_rate) for arm, style in arms]
        for index in range(len(report.splits))
    ]
    reference = next(index for index, arm in enumerate(report.arms) if arm.name == report.reference)

    def finish(axes: Axes, panel: PanelRows) -> None:
        use_percent_axis(axes)
        rate = panel[reference][2].value
        if rate is not None and len(panel) > 1:
            axes.axvline(rate, color=MUTED, linewidth=0.9, linestyle=DOTTED, zorder=1)

    caption = f"Success rate with {100 * report.confidence:g}{PERCENT} interval."
    if len(report.arms) > 1:
        caption += f" The dotted line is {report.arms[reference].label}."
    words = _Words(percent, percent_interval)
    return _draw_panels(
        "success", "Success rate of each arm", caption, report, panels, words, finish
    )


def plot_differences(report: Report) -> Plot | None:
    """Paired differences to the reference, a panel for each split; None without comparisons."""
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
        abs(limit) for panel in panels for _, _, number in panel for limit in number.limits or ()
    ]
    reach = max([0.05, *limits]) * 1.08

    def finish(axes: Axes, panel: PanelRows) -> None:
        axes.set_xlim(-reach, reach)
        axes.xaxis.set_major_formatter(
            lambda value, _: "0" if abs(value) < 1e-9 else f"{100 * value:+.0f}".replace("-", MINUS)
        )
        axes.xaxis.grid(True, color=RULE, linewidth=0.7)
        axes.axvline(0, color=INK, linewidth=1.0, zorder=1)

    label = report.arm(report.reference).label
    caption = (
        f"Success rate minus that of {label} on the same tasks, in percentage points, with "
        f"{100 * report.confidence:g}{PERCENT} interval. Right of the line is better."
    )
    title, words = f"Difference to {label}", _Words(points, points_interval)
    return _draw_panels("differences", title, caption, report, panels, words, finish)


def plot_groups(report: Report, split: str) -> Plot | None:
    """Success per task group on one split, all arms in each row; None without groups."""
    index, groups = report.splits.index(split), groups_in_order(report, split)
    if not groups:
        return None
    name, styles = f"groups-{index + 1}", arm_styles(report)
    title = f"Success per task group, {split_label(split)}"
    plot_height = len(groups) * (LANE * len(styles) + 0.12)
    top, bottom, column = 0.34 + 0.2 * ((len(styles) - 1) // 5), 0.28, name_column(groups)
    height, width = plot_height + top + bottom, WIDTH - column - MARGIN
    with drawing(name):
        figure = new_figure(height)
        axes = add_axes(figure, height, column, bottom, width, plot_height)
        name_rows(axes, groups, column)
        use_percent_axis(axes)
        _write_corner(figure, split_label(split))
        for row, group in enumerate(groups):
            if row % 2 == 0:
                _draw_band(axes, row, -column / width)
            for position, (arm, style) in enumerate(zip(report.arms, styles, strict=True)):
                offset = (position - (len(styles) - 1) / 2) * LANE * len(groups) / plot_height
                rate = arm.results[index].groups[group].success_rate
                draw_estimate(axes, row + offset, rate, style, size=5.2)
        handles = [
            mark_handle(arm.label, style) for arm, style in zip(report.arms, styles, strict=True)
        ]
        draw_legend(figure, handles)
        described = "The numbers are those of the table with the same name."
        svg = write_svg(figure, name, title, described)
    caption = f"Success rate with {100 * report.confidence:g}{PERCENT} interval."
    return Plot(name, title, caption, svg)


def plot_arm_positions(report: Report) -> Plot | None:
    """The selected share of the steps in each tenth of the trajectory.

    None where every arm takes all steps.
    """
    panels = [
        PositionPanel(
            arm.label,
            {style.color: tuple(part.selected_share for part in arm.selection.bins)},
            (arm.selection.num_selected / arm.selection.num_steps,) * len(arm.selection.bins),
        )
        for arm, style in zip(report.arms, arm_styles(report), strict=True)
        if arm.selection is not None and 0 < arm.selection.num_selected < arm.selection.num_steps
    ]
    if not panels:
        return None
    return draw_positions(
        panels,
        "Where the selected steps lie",
        "Share of the steps in each tenth of the trajectory that were selected. "
        "The dotted line is the share over all steps.",
        "The numbers are those of the table of tenths.",
    )


def plot_losses(report: Report) -> Plot | None:
    """Training loss over optimizer steps, each run thin and its running mean thick.

    None where nothing was logged.
    """
    shown = [
        (arm, style)
        for arm, style in zip(report.arms, arm_styles(report), strict=True)
        if arm.losses
    ]
    if not shown:
        return None
    title, height = "Training loss", 3.1
    with drawing("losses"):
        figure = new_figure(height)
        axes = add_axes(figure, height, 0.5, 0.14 * height, WIDTH - 0.62, 0.73 * height)
        axes.yaxis.grid(True, color=RULE, linewidth=0.7)
        for arm, style in shown:
            thick = 1.7 if len(arm.losses) == 1 else 1.1
            for curve in arm.losses:
                thin: dict[str, Any] = {"linewidth": 0.4 * thick, "alpha": 0.35, "zorder": 2}
                axes.plot(curve.steps, curve.losses, color=style.color, **thin)
                means = running_mean(curve.losses)
                axes.plot(curve.steps, means, color=style.color, linewidth=thick, zorder=3)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.set_xlabel("Optimizer step", fontsize=7.5, labelpad=5)
        draw_legend(figure, [mark_handle(arm.label, style, is_line=True) for arm, style in shown])
        described = [
            f"{arm.label} from {curve.losses[0]:.3f} to {curve.losses[-1]:.3f}"
            for arm, _ in shown
            for curve in arm.losses
        ]
        svg = write_svg(figure, "losses", title, "; ".join(described))
    caption = (
        "Loss per supervised token, in nats, at each optimizer step (thin) and its running mean "
        "(thick)."
    )
    return Plot("losses", title, caption, svg)


def running_mean(values: Sequence[float]) -> list[float]:
    """The mean over a centered window of a twentieth of the curve, narrower at its ends."""
    half = len(values) // 40
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(window) / len(window) for window in windows]


@dataclass(frozen=True, slots=True)
class _Words:
    """How a panel writes a number and its interval."""

    value: Callable[[Estimate], str]
    interval: Callable[[Estimate], str]


def _draw_panels(
    name: str,
    title: str,
    caption: str,
    report: Report,
    panels: Sequence[PanelRows],
    words: _Words,
    finish: Callable[[Axes, PanelRows], None],
) -> Plot:
    """A panel for each split, a row for each arm.

    A row has the arm's name at the left, the mark with its interval, and the number in words.
    """
    num_lines = math.ceil(len(panels) / PANELS_PER_ROW)
    columns = min(PANELS_PER_ROW, len(panels))
    names = [arm.label for arm, _, _ in panels[0]]
    plot_height = ROW_HEIGHT * len(names)
    line_height, left = TOP + plot_height + BOTTOM, name_column(names)
    width = (WIDTH - left - columns * WORDS_COLUMN - (columns - 1) * PANEL_GAP) / columns
    height = num_lines * line_height
    with drawing(name):
        figure = new_figure(height)
        for place, panel in enumerate(panels):
            line, column = divmod(place, columns)
            start = left + column * (width + WORDS_COLUMN + PANEL_GAP)
            bottom = (num_lines - line - 1) * line_height + BOTTOM
            axes = add_axes(figure, height, start, bottom, width, plot_height)
            name_rows(axes, names, left)
            axes.tick_params(axis="y", labelleft=column == 0)
            finish(axes, panel)
            write_title(axes, split_label(report.splits[place]))
            for row, (_, style, number) in enumerate(panel):
                draw_estimate(axes, row, number, style, size=6.4)
                _write_number(axes, row, number, words, width)
        described = "; ".join(
            f"{split_label(split)}: "
            + ", ".join(
                f"{arm.label} {words.value(number)} {words.interval(number)}"
                for arm, _, number in panel
            )
            for split, panel in zip(report.splits, panels, strict=True)
        )
        return Plot(name, title, caption, write_svg(figure, name, title, described))


def _write_number(axes: Axes, row: int, number: Estimate, words: _Words, width: float) -> None:
    """The number and its interval in words, at the right of the axes."""
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center_baseline"}
    left = 1 + WORDS_MARGIN / width
    axes.text(left, row, words.value(number), fontweight="bold", color=INK, **place)
    left += VALUE_COLUMN / width
    axes.text(left, row, words.interval(number), fontsize=7, color=MUTED, **place)


def _write_corner(figure: Figure, text: str) -> None:
    """A title in the upper left corner."""
    figure.text(0, 1, text, va="top", fontsize=8.5, fontweight="bold", color=INK)


def _draw_band(axes: Axes, row: int, left: float) -> None:
    """A band behind a row, from `left` in units of the axes."""
    axes.axhspan(row - 0.5, row + 0.5, xmin=left, clip_on=False, color=BAND, linewidth=0, zorder=0)
