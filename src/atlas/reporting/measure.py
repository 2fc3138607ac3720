"""Episodes of an arm -> its numbers on a split and by task group, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from atlas.records import CUT_STEPS, USAGE
from atlas.reporting.arms import Arm
from atlas.reporting.config import ReportConfig
from atlas.reporting.report import EpisodeCounts, SourcedEstimate, SplitResult
from atlas.statistics.bootstrap import Floats
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval, wilson_interval
from atlas.statistics.trajectory_summary import TrajectoryFacts, TurnShares, count_trajectories

COUNT = "count"
STEP_SHARE = "share of the steps of valid episodes for which it is known"
CUT_SHARE = "share of the steps of valid episodes whose player says which answers were cut"
WILSON = "Wilson score interval over tasks"
ALL_EQUAL = "all values are equal, which leaves nothing to resample"
OVER_TASKS = "bootstrap over tasks"
OVER_TASKS_AND_RUNS = "bootstrap over tasks and runs"

FIELDS: dict[str, Callable[[TrajectoryFacts], float]] = {
    "success": lambda episode: float(episode.status == "success"),
    "score": lambda episode: math.nan if episode.score is None else episode.score,
    "num_steps": lambda episode: float(episode.num_steps),
    "input_tokens": lambda episode: episode.usage.input_tokens if episode.usage else math.nan,
    "output_tokens": lambda episode: episode.usage.output_tokens if episode.usage else math.nan,
}


def measure_split(arm: Arm, split: str, config: ReportConfig) -> SplitResult:
    """The numbers of `arm` on `split`.

    Groups are in alphabetical order; there are none if the tasks have no group.
    """
    runs = episodes_of(arm, split)
    groups = {
        group: [[episode for episode in episodes if episode.group == group] for episodes in runs]
        for group in sorted({episode.group for episode in runs[0] if episode.group})
    }
    return SplitResult(
        split=split,
        num_tasks=len(runs[0]),
        total=_measure_episodes(arm, split, runs, config),
        groups={
            group: _measure_episodes(arm, split, inside, config, f"[task.group={group}]")
            for group, inside in groups.items()
        },
    )


def episodes_of(arm: Arm, split: str) -> list[list[TrajectoryFacts]]:
    """The episodes of each run of an arm [R][T]."""
    return [list(run.evaluations[split].episodes.values()) for run in arm.runs]


def episode_values(runs: Sequence[Sequence[TrajectoryFacts]], field: str) -> Floats:
    """Values of one of `FIELDS` [R, T]; NaN for an invalid episode or a missing score."""
    read = FIELDS[field]
    rows = [
        [read(episode) if episode.is_valid else math.nan for episode in episodes]
        for episodes in runs
    ]
    return np.array(rows, dtype=np.float64)


def sourced(estimate: Estimate, method: str, sources: tuple[str, ...]) -> SourcedEstimate:
    """An estimate with its method and sources."""
    if estimate.value is not None and estimate.limits is None:
        method = ALL_EQUAL
    return SourcedEstimate(**estimate.model_dump(), method=method, sources=sources)


def episode_sources(arm: Arm, split: str, field: str) -> tuple[str, ...]:
    """The sources of a field of the episodes, one per run."""
    return tuple(f"{run.evaluations[split].folder.name}/episodes.jsonl#{field}" for run in arm.runs)


def _measure_episodes(
    arm: Arm,
    split: str,
    runs: Sequence[Sequence[TrajectoryFacts]],
    config: ReportConfig,
    where: str = "",
) -> EpisodeCounts:
    """The numbers of episodes [R][T]; `where` names their task group in the sources."""
    episodes = [episode for run in runs for episode in run]
    counts = count_trajectories(episodes)
    valid = count_trajectories(episode for episode in episodes if episode.is_valid)
    statuses = episode_sources(arm, split, f"outcome.status{where}")

    def number(value: int) -> SourcedEstimate:
        return SourcedEstimate(value=value, method=COUNT, sources=statuses)

    def mean(field: str, source: str) -> SourcedEstimate:
        method = OVER_TASKS if len(runs) == 1 else OVER_TASKS_AND_RUNS
        estimate = _bootstrap(episode_values(runs, field), config)
        return sourced(estimate, method, episode_sources(arm, split, source + where))

    def share(value: float | None, field: str, method: str = STEP_SHARE) -> SourcedEstimate:
        sources = episode_sources(arm, split, field + where)
        return SourcedEstimate(value=value, method=method, sources=sources)

    turns = TurnShares.of(episodes)
    return EpisodeCounts(
        num_episodes=number(counts.num_trajectories),
        num_valid=number(counts.num_valid),
        num_success=number(counts.num_success),
        num_truncated=number(counts.statuses["truncated"]),
        num_invalid=number(counts.num_trajectories - counts.num_valid),
        success_rate=_success_rate(episode_values(runs, "success"), config, statuses),
        mean_score=mean("score", "outcome.score"),
        mean_steps=mean("num_steps", "steps"),
        invalid_step_share=share(valid.invalid_step_share, "steps.is_invalid"),
        actionless_step_share=share(turns.actionless, "steps.action"),
        repeated_step_share=share(turns.repeated, "steps.action"),
        cut_step_share=share(turns.cut, f"source.details.{CUT_STEPS}", CUT_SHARE),
        mean_input_tokens=mean("input_tokens", f"source.details.{USAGE}.input_tokens"),
        mean_output_tokens=mean("output_tokens", f"source.details.{USAGE}.output_tokens"),
    )


def _success_rate(
    values: Floats, config: ReportConfig, sources: tuple[str, ...]
) -> SourcedEstimate:
    known = values[~np.isnan(values)]
    num_tasks = int((~np.isnan(values).all(axis=0)).sum())
    if num_tasks == 0:
        return SourcedEstimate(method=WILSON, sources=sources)
    # If all episodes have the same result, resampling is not possible. Then each task counts once,
    # as with a single run.
    if len(values) == 1 or known.min() == known.max():
        successes = known.sum() if len(values) == 1 else known.min() * num_tasks
        rate = wilson_interval(float(successes), num_tasks, config.confidence)
        return sourced(rate, WILSON, sources)
    return sourced(_bootstrap(values, config), OVER_TASKS_AND_RUNS, sources)


def _bootstrap(values: Floats, config: ReportConfig) -> Estimate:
    return bootstrap_interval(values, config.seed, config.resamples, config.confidence)
