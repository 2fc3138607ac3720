"""Figures of a suite: per entry, and macro averages in which each world counts alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atlas.environments.suite import SuiteEntry
from atlas.evaluation.metrics import EpisodeMetrics, GroupMetrics
from atlas.records import Record
from atlas.statistics.estimate import Estimate
from atlas.statistics.macro_average import average_estimates


class EntryMetrics(Record):
    """The figures of one entry, and what the suite says about it."""

    environment: str
    world: str
    split: str
    ring: str
    group: str | None
    difficulty: str | None
    figures: GroupMetrics


class MacroMetrics(Record):
    """Counts over entries, and averages in which each world counts alike.

    The entries of one world are averaged first. Episodes without a score are in no average:
    the player declined to answer (`num_refused`), or the episode broke (`num_crashed`).
    """

    num_entries: int
    num_worlds: int
    num_episodes: int
    num_valid: int
    num_success: int
    num_truncated: int
    num_crashed: int
    num_refused: int
    num_unknown: int
    success_rate: Estimate
    mean_score: Estimate
    mean_steps: Estimate
    mean_input_tokens: Estimate
    mean_output_tokens: Estimate


class SuiteMetrics(Record):
    """The figures of a suite; `left_out` has the reason for each entry that was not played."""

    title: str | None
    total: MacroMetrics
    rings: dict[str, MacroMetrics]
    groups: dict[str, MacroMetrics]
    difficulties: dict[str, MacroMetrics]
    entries: dict[str, EntryMetrics]
    left_out: dict[str, str]
    cost_usd: float | None = None


def summarize_suite(
    title: str | None,
    entries: Mapping[str, SuiteEntry],
    metrics: Mapping[str, EpisodeMetrics],
    left_out: Mapping[str, str],
) -> SuiteMetrics:
    """The figures of a suite from those of its entries that were played."""
    found = {
        name: EntryMetrics(
            environment=entry.environment.name,
            world=entry.world_name,
            split=entry.split,
            ring=entry.ring,
            group=entry.group,
            difficulty=entry.difficulty,
            figures=GroupMetrics(
                **metrics[name].model_dump(include=set(GroupMetrics.model_fields))
            ),
        )
        for name, entry in entries.items()
        if name in metrics
    }
    played = list(found.values())
    costs = [one.cost_usd for one in metrics.values() if one.cost_usd is not None]
    return SuiteMetrics(
        title=title,
        total=average_entries(played),
        rings=_averages_by([(entry.ring, entry) for entry in played]),
        groups=_averages_by([(entry.group, entry) for entry in played]),
        difficulties=_averages_by([(entry.difficulty, entry) for entry in played]),
        entries=found,
        left_out=dict(left_out),
        cost_usd=sum(costs) if costs else None,
    )


def average_entries(entries: Sequence[EntryMetrics]) -> MacroMetrics:
    """Counts and macro averages of some entries."""

    def number(field: str) -> int:
        return sum(getattr(entry.figures, field) for entry in entries)

    worlds = {entry.world for entry in entries}
    counts = [name for name in MacroMetrics.model_fields if name in GroupMetrics.model_fields]
    figures = [name for name in counts if not name.startswith("num_")]
    return MacroMetrics(
        num_entries=len(entries),
        num_worlds=len(worlds),
        **{name: number(name) for name in counts if name not in figures},
        **{name: _macro(entries, name) for name in figures},
    )


def _macro(entries: Sequence[EntryMetrics], figure: str) -> Estimate:
    worlds: dict[str, list[Estimate]] = {}
    for entry in entries:
        worlds.setdefault(entry.world, []).append(getattr(entry.figures, figure))
    return average_estimates(average_estimates(estimates) for estimates in worlds.values())


def _averages_by(
    labeled: Sequence[tuple[str | None, EntryMetrics]],
) -> dict[str, MacroMetrics]:
    labels = dict.fromkeys(label for label, _ in labeled if label is not None)
    return {
        label: average_entries([entry for own, entry in labeled if own == label])
        for label in labels
    }
