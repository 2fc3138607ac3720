"""Plans the page of episodes: `report + selections -> its settings`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from atlas.experiments.config import ExperimentConfig
from atlas.experiments.plan_selections import SelectionPlan
from atlas.experiments.show_episodes import EpisodesConfig
from atlas.reporting.config import ReportConfig

# The selector that selects every step.
ALL_STEPS = "all"


def plan_episodes(
    config: ExperimentConfig, report: ReportConfig, trajectories: Path, selections: SelectionPlan
) -> EpisodesConfig | None:
    """The page of the arms that the report is about, with the first training of each."""
    if (arms := report.main_arms) is None:
        return None
    by_name = {arm.name: arm for arm in report.arms}
    first, second = (by_name[name].runs[0] for name in arms)
    folders: dict[Path, str] = {}
    for arm in config.arms:
        folders.setdefault(selections.folder(arm, config.seeds_of(arm)[0]), arm)
    # Where every step is selected, there is nothing to see.
    some = {
        folder: arm
        for folder, arm in folders.items()
        if selections.settings(arm).selector.name != ALL_STEPS
    }
    return EpisodesConfig(
        title=f"Episodes: {config.title}",
        arms=arms,
        labels={arm.name: arm.label for arm in report.arms if arm.label is not None},
        played={
            split: (first.folders(split)[0], second.folders(split)[0])
            for split in _main_first(config, first.evaluations)
        },
        trajectories=trajectories,
        selections={arm: folder for folder, arm in (some or folders).items()},
    )


def _main_first(config: ExperimentConfig, splits: Iterable[str]) -> list[str]:
    """The splits, those of the primary comparison first."""
    scope = config.primary.scope if config.primary is not None else None
    rings = {name: one.ring for name, one in config.suite.entries.items()} if config.suite else {}
    return sorted(splits, key=lambda split: rings.get(split, split) != scope)
