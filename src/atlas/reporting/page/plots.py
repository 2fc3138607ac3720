"""Report -> plots. Every estimate is a dot with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
from atlas.presenting.svg import INK, MUTED, RULE, Plot, drawing, finish_plot
from atlas.presenting.wording import (
    PERCENT,
    percent,
    percent_interval,
)
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.page.arm_styles import styled_arms
from atlas.reporting.page.tables import has_rates, shown_rate
from atlas.reporting.report import ArmReport, Report
from atlas.statistics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PanelRows = Sequence[tuple[ArmReport, MarkStyle, Estimate]]
# Functions that format a number and its interval.
Words = tuple[Callable[[Estimate], str], Callable[[Estimate], str]]
PANELS_PER_ROW = 2
# Heights and widths of the panels, in inches.
TOP, BOTTOM, ROW_HEIGHT, VALUE_COLUMN, WORDS_COLUMN, PANEL_GAP = 0.32, 0.3, 0.31, 0.5, 1.42, 0.2
WORDS_MARGIN = 0.14


def plot_success(report: Report) -> Plot | None:
    """Success rate with interval, a panel for each scope; None if no rate is known."""
    arms = styled_arms(report)
    if not has_rates(report):
        return None
    panels = [
        [(arm, style, shown_rate(report, arm.scopes[index])) for arm, style in arms]
        for index in range(len(report.scopes))
    ]
    reference = next(index for index, arm in enumerate(report.arms) if arm.name == report.reference)

    def finish(axes: Axes, panel: PanelRows) -> None:
        use_percent_axis(axes)
        rate = panel[reference][2].value
        if rate is not None and len(panel) > 1:
            axes.axvline(rate, color=MUTED, linewidth=0.9, linestyle=DOTTED, zorder=1)

    caption = _rate_caption(report)
    if len(report.arms) > 1:
        caption += f" The dotted line is {report.arms[reference].label}."
    words = (percent, percent_interval)
    title = "Success rate of each arm"
    return _draw_panels("success", title, caption, report, panels, words, finish)


def plot_arm_positions(report: Report) -> Plot | None:
    """The selected share of the steps in each tenth of the trajectory.

    None if every arm takes all steps.
    """
    panels = [
        PositionPanel(
            arm.label,
            {style.color: tuple(part.selected_share for part in profile.bins)},
            (profile.num_selected / profile.num_steps,) * len(profile.bins),
        )
        for arm, style in styled_arms(report)
        if (profile := arm.selection) and 0 < profile.num_selected < profile.num_steps
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

    None if nothing was logged.
    """
    shown = [(arm, style) for arm, style in styled_arms(report) if arm.losses]
    if not shown:
        return None
    height = 3.1
    with drawing("losses"):
        figure = new_figure(height)
        axes = add_axes(figure, 0.62, 0.14 * height, WIDTH - 0.74, 0.73 * height)
        axes.yaxis.grid(True, color=RULE, linewidth=0.7)
        described = []
        for arm, style in shown:
            thick = 1.7 if len(arm.losses) == 1 else 1.1
            for curve in arm.losses:
                thin: dict[str, Any] = {"linewidth": 0.4 * thick, "alpha": 0.35, "zorder": 2}
                axes.plot(curve.steps, curve.losses, color=style.color, **thin)
                means = _running_mean(curve.losses)
                axes.plot(curve.steps, means, color=style.color, linewidth=thick, zorder=3)
                # Two arms may have the same color, never the same mark.
                last = Estimate(value=curve.steps[-1])
                draw_estimate(axes, means[-1], last, style, size=5.2)
                ends = f"from {curve.losses[0]:.3f} to {curve.losses[-1]:.3f}"
                described.append(f"{arm.label} {ends}")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.set_xlabel("Optimizer step", fontsize=7.5, labelpad=5)
        axes.set_ylabel("Loss, nats per token", fontsize=7.5, labelpad=4)
        draw_legend(figure, [mark_handle(arm.label, style) for arm, style in shown])
        caption = (
            "Loss per supervised token, in nats, at each optimizer step (thin) and its running "
            "mean (thick, with a mark at its end)."
        )
        return finish_plot(figure, "losses", "Training loss", caption, "; ".join(described))


def _rate_caption(report: Report) -> str:
    return f"Success rate with {100 * report.confidence:g}{PERCENT} interval."


def _running_mean(values: Sequence[float]) -> list[float]:
    """The mean over a centered window of a twentieth of the curve, narrower at its ends."""
    half = len(values) // 40
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _draw_panels(
    name: str,
    title: str,
    caption: str,
    report: Report,
    panels: Sequence[PanelRows],
    words: Words,
    finish: Callable[[Axes, PanelRows], None],
) -> Plot:
    """A panel for each scope, a row for each arm.

    A row has the arm's name at the left, the mark with its interval, and the number in words.
    """
    num_lines = math.ceil(len(panels) / PANELS_PER_ROW)
    columns = min(PANELS_PER_ROW, len(panels))
    names = [arm.label for arm, _, _ in panels[0]]
    plot_height = ROW_HEIGHT * len(names)
    line_height, left = TOP + plot_height + BOTTOM, name_column(names)
    width = (WIDTH - left - columns * WORDS_COLUMN - (columns - 1) * PANEL_GAP) / columns
    height = num_lines * line_height
    scopes = [split_label(scope.name) for scope in report.scopes]
    described = []
    with drawing(name):
        figure = new_figure(height)
        for place, (scope, panel) in enumerate(zip(scopes, panels, strict=True)):
            line, column = divmod(place, columns)
            start = left + column * (width + WORDS_COLUMN + PANEL_GAP)
            bottom = (num_lines - line - 1) * line_height + BOTTOM
            axes = add_axes(figure, start, bottom, width, plot_height)
            name_rows(axes, names, left)
            axes.tick_params(axis="y", labelleft=column == 0)
            finish(axes, panel)
            write_title(axes, scope)
            at_right = axes.get_yaxis_transform()
            beside: dict[str, Any] = {"transform": at_right, "va": "center_baseline"}
            sentences = []
            for row, (arm, style, number) in enumerate(panel):
                value, interval = (write(number) for write in words)
                sentences.append(f"{arm.label} {value} {interval}")
                draw_estimate(axes, row, number, style, size=6.4)
                edge = 1 + WORDS_MARGIN / width
                axes.text(edge, row, value, fontweight="bold", color=INK, **beside)
                edge += VALUE_COLUMN / width
                axes.text(edge, row, interval, fontsize=7, color=MUTED, **beside)
            described.append(f"{scope}: {', '.join(sentences)}")
        return finish_plot(figure, name, title, caption, "; ".join(described))
