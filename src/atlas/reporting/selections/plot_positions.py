"""Comparison of selections -> a plot of the positions and kinds of selected steps."""

from __future__ import annotations

from atlas.presenting.position_plot import PositionPanel, draw_positions
from atlas.presenting.svg import BASE, CONTROLS, FOCUS, Plot
from atlas.presenting.wording import KIND_LABELS
from atlas.records import CriticalKind
from atlas.reporting.measures.position_bins import PositionBin
from atlas.reporting.selections.selection_comparison import SelectionComparison

# Steps without a kind are gray.
KIND_COLORS: dict[CriticalKind | None, str] = {
    "plan_creation": FOCUS,
    "critical_observation": CONTROLS[1],
    "critical_action": CONTROLS[0],
    "self_correction": CONTROLS[2],
    None: BASE,
}


def plot_selected_positions(comparison: SelectionComparison) -> Plot:
    """The selected share of the steps in each tenth of the trajectory, divided among kinds."""
    panels = [
        PositionPanel(
            profile.name,
            {
                color: tuple(_share(part, kind) for part in profile.bins)
                for kind, color in KIND_COLORS.items()
            },
            tuple(part.expected_selected / (part.num_steps or 1) for part in profile.bins),
        )
        for profile in comparison.profiles
    ]
    shown = {color for panel in panels for color, heights in panel.bars.items() if any(heights)}
    return draw_positions(
        panels,
        "Where the selected steps lie, and of what kind",
        "Share of the steps in each tenth of the trajectory that were selected. A step with "
        "several kinds is divided among them.",
        "The numbers are in comparison.json.",
        {
            color: KIND_LABELS[kind] if kind else "no kind given"
            for kind, color in KIND_COLORS.items()
            if color in shown
        },
        "random draws of as many",
    )


def _share(part: PositionBin, kind: CriticalKind | None) -> float:
    total = sum(part.kinds.values()) + part.no_kind
    number = part.kinds[kind] if kind else part.no_kind
    return part.selected_share * number / (total or 1)
