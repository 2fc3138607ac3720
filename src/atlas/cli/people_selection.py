"""Labels of the viewer as a selection: what `atlas select --selector annotated labels=` does."""

from __future__ import annotations

from pathlib import Path


def select_labeled(
    trajectories: Path, labels: Path, out: Path, annotator: str | None, ratio: float
) -> str:
    """Write a run of select from a file of labels; returns what it selected, as a phrase."""
    from atlas.kinds import Choice
    from atlas.selection.select_steps import SelectConfig, select_steps

    settings = {"labels": str(labels)} | ({} if annotator is None else {"annotator": annotator})
    config = SelectConfig(selector=Choice("annotated", settings), ratio=ratio)
    summary = select_steps(config, trajectories, out).summary
    steps, allowed = summary["selected_steps"], summary["trajectories"]
    return f"{steps:,} critical steps in {allowed:,} trajectories"
