"""Comparison of selections -> a plot of where each selects its steps, and of what kind."""

from __future__ import annotations

from atlas.presenting.position_plot import PositionPanel, draw_positions
from atlas.presenting.svg import BASE, CONTROLS, FOCUS, Plot
from atlas.presenting.wording import KIND_LABELS
from atlas.reporting.position_bins import PositionBin
from atlas.reporting.selections.selection_comparison import ComparedSelection, SelectionComparison

NO_KIND = "no_kind"
# Steps without a kind are gray.
KIND_COLORS = {
    "plan_creation": FOCUS,
    "critical_observation": CONTROLS[1],
    "critical_action": CONTROLS[0],
    "self_correction": CONTROLS[2],
    NO_KIND: BASE,
}


def plot_selected_positions(comparison: SelectionComparison) -> Plot:
    """The selected share of the steps in each tenth of the trajectory, divided among kinds."""
    panels = [_panel(profile) for profile in comparison.profiles]
    labels = {**{str(kind): label for kind, label in KIND_LABELS.items()}, NO_KIND: "no kind given"}
    return draw_positions(
        panels,
        "Where the selected steps lie, and of what kind",
        "Share of the steps in each tenth of the trajectory that were selected. A step with "
        "several kinds is divided among them.",
        "The numbers are in comparison.json.",
        {
            color: labels[kind]
            for kind, color in KIND_COLORS.items()
            if any(any(panel.bars[color]) for panel in panels)
        },
        "blind draws of as many",
    )


def _panel(profile: ComparedSelection) -> PositionPanel:
    parts = [_kind_shares(part) for part in profile.bins]
    return PositionPanel(
        profile.name,
        {color: tuple(part[kind] for part in parts) for kind, color in KIND_COLORS.items()},
        tuple(part.expected_selected / (part.num_steps or 1) for part in profile.bins),
    )


def _kind_shares(part: PositionBin) -> dict[str, float]:
    """The selected share of the steps in a tenth, divided among kinds."""
    marks = {**{str(kind): count for kind, count in part.kinds.items()}, NO_KIND: part.no_kind}
    total = sum(marks.values()) or 1
    return {kind: part.selected_share * count / total for kind, count in marks.items()}
