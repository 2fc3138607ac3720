"""Comparison -> a plot: where in a trajectory each selection chooses its steps, and of what kind; blind draws as a line."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from atlas.errors import DependencyError
from atlas.reporting.selections.comparison import BINS, Comparison, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
WIDTH, ROW_HEIGHT, HEAD, FOOT = 9.2, 1.75, 0.34, 0.42  # inches
# apart for colour-blind eyes; a selection without kinds is grey
COLOURS = {
    "plan_creation": "#0067b8",
    "critical_observation": "#00836a",
    "critical_action": "#c4500b",
    "self_correction": "#a94d93",
    "no_kind": "#9aa3ae",
}
INK, MUTED, RULE = "#1c2430", "#5c6673", "#d9dee5"


def import_figure() -> Any:
    """matplotlib's Figure.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("matplotlib", "report") from None
    return Figure


def plot_positions(comparison: Comparison, format: str = "svg") -> Any:
    """The plot as SVG text, the same bytes each time; or as the bytes of another format that matplotlib writes."""
    import matplotlib

    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "atlas positions",
        "text.parse_math": False,  # a name may hold a dollar sign
        "font.family": ["sans-serif"],
        "font.sans-serif": [
            "DejaVu Sans"
        ],  # ships with matplotlib: the layout is the same everywhere
        "font.size": 8.0,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
    }
    with matplotlib.rc_context(settings):
        figure = _draw(comparison)
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if format == "svg" else None
        figure.savefig(buffer, format=format, metadata=metadata, facecolor="white", dpi=130)
    return buffer.getvalue().decode() if format == "svg" else buffer.getvalue()


def _draw(comparison: Comparison) -> Any:
    profiles = comparison.profiles
    num_columns = min(COLUMNS, len(profiles))
    num_rows = math.ceil(len(profiles) / num_columns)
    height = HEAD + num_rows * ROW_HEIGHT + FOOT
    figure = import_figure()(figsize=(WIDTH, height))
    figure.text(
        0.012,
        1 - 0.1 / height,
        "Where the selected steps lie, and of what kind",
        va="top",
        fontsize=10,
        fontweight="bold",
    )
    shares = [[_shares(profile, place) for place in range(BINS)] for profile in profiles]
    top = max([0.1, *(sum(parts.values()) for panel in shares for parts in panel)])
    left, gap = 0.5, 0.3
    width = (WIDTH - left - 0.12 - gap * (num_columns - 1)) / num_columns
    for number, (profile, panel) in enumerate(zip(profiles, shares, strict=True)):
        row, column = divmod(number, num_columns)
        bottom = FOOT + (num_rows - 1 - row) * ROW_HEIGHT + 0.12
        place = (
            (left + column * (width + gap)) / WIDTH,
            bottom / height,
            width / WIDTH,
            (ROW_HEIGHT - 0.62) / height,
        )
        axes = figure.add_axes(place)
        _draw_panel(axes, profile, panel)
        axes.set_ylim(0, min(1.0, top * 1.08))
        axes.tick_params(axis="y", labelleft=column == 0)
    _draw_legend(
        figure,
        [kind for kind in COLOURS if any(parts[kind] > 0 for panel in shares for parts in panel)],
        height,
    )
    figure.text(
        0.012,
        0.09 / height,
        "Share of the steps in each tenth of the trajectory that were selected. A step with several kinds is divided among them.",
        fontsize=7.5,
        color=MUTED,
    )
    return figure


def _draw_panel(axes: Axes, profile: Profile, panel: list[dict[str, float]]) -> None:
    centres = [(place + 0.5) / BINS for place in range(BINS)]
    base = [0.0] * BINS
    for kind, colour in COLOURS.items():
        heights = [parts[kind] for parts in panel]
        axes.bar(centres, heights, bottom=base, width=0.084, color=colour, linewidth=0, zorder=2)
        base = [low + more for low, more in zip(base, heights, strict=True)]
    expected = [
        part.expected_selected / part.num_steps if part.num_steps else math.nan
        for part in profile.bins
    ]
    axes.plot(centres, expected, color=INK, linewidth=1.0, linestyle=(0, (2, 2)), zorder=3)
    name = profile.name if len(profile.name) <= 34 else f"{profile.name[:33]}…"
    axes.set_title(name, loc="left", fontsize=8.5, fontweight="bold", color=INK, pad=5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["start", "middle", "end"])
    first, _, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if value else "0")
    axes.yaxis.grid(True, color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=7.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_legend(figure: Any, kinds: list[str], height: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(
            color=COLOURS[kind],
            label="no kind given" if kind == "no_kind" else kind.replace("_", " "),
        )
        for kind in kinds
    ]
    handles.append(
        Line2D(
            [0],
            [0],
            color=INK,
            linewidth=1.0,
            linestyle=(0, (2, 2)),
            label="blind draws of as many",
        )
    )
    place = (0.008, 1 - 0.3 / height)
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=place,
        ncols=6,
        frameon=False,
        fontsize=7.5,
        columnspacing=1.4,
        borderpad=0,
    )


def _shares(profile: Profile, place: int) -> dict[str, float]:
    """The selected share of the steps in a tenth, divided among kinds."""
    part = profile.bins[place]
    marks = {**{str(kind): count for kind, count in part.kinds.items()}, "no_kind": part.no_kind}
    total = sum(marks.values())
    return {
        kind: part.num_selected / part.num_steps * count / total if total else 0.0
        for kind, count in marks.items()
    }
