"""Episodes of an arm -> its numbers on a split, whole and by task group, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.reporting.arms import Arm
from atlas.reporting.config import ReportConfig
from atlas.reporting.report import EpisodeCounts, SourcedEstimate, SplitResult
from atlas.statistics.bootstrap import Floats
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval, wilson_interval
from atlas.statistics.trajectory_summary import TrajectoryFacts, count_trajectories

COUNT = "count"
STEP_SHARE = "share of the steps of valid episodes for which it is known"
WILSON = "Wilson score interval over tasks"
ALL_EQUAL = "all values are equal, which leaves nothing to resample"
OVER_TASKS = "bootstrap over tasks"
OVER_TASKS_AND_RUNS = "bootstrap over tasks and runs"

FIELDS: dict[str, Callable[[TrajectoryFacts], float]] = {
    "success": lambda episode: float(episode.status == "success"),
    "score": lambda episode: math.nan if episode.score is None else episode.score,
    "num_steps": lambda episode: float(episode.num_steps),
}


def measure_split(arm: Arm, split: str, config: ReportConfig) -> SplitResult:
    """The numbers of `arm` on `split`.

    Groups are in alphabetical order; there are none where the tasks carry no group.
    """
    runs = [tuple(run.evaluations[split].episodes.values()) for run in arm.runs]
    groups = sorted({episode.group for episode in runs[0] if episode.group})
    return SplitResult(
        split=split,
        num_tasks=len(runs[0]),
        total=_Episodes(arm, split, runs, config).measure(),
        groups={
            group: _Episodes(
                arm,
                split,
                [[episode for episode in episodes if episode.group == group] for episodes in runs],
                config,
                f"[task.group={group}]",
            ).measure()
            for group in groups
        },
    )


def episode_values(runs: Sequence[Sequence[TrajectoryFacts]], field: str) -> Floats:
    """Values of one of `FIELDS` [R, T]; NaN for an invalid episode or a missing score."""
    read = FIELDS[field]
    return np.array(
        [
            [read(episode) if episode.is_valid else math.nan for episode in episodes]
            for episodes in runs
        ],
        dtype=np.float64,
    )


def sourced(estimate: Estimate, method: str, sources: tuple[str, ...]) -> SourcedEstimate:
    """An estimate with its method and sources."""
    if estimate.value is not None and estimate.limits is None:
        method = ALL_EQUAL
    return SourcedEstimate(**estimate.model_dump(), method=method, sources=sources)


def episode_sources(arm: Arm, split: str, field: str) -> tuple[str, ...]:
    """Where a field of the episodes was read, one source per run."""
    return tuple(f"{run.evaluations[split].folder.name}/episodes.jsonl#{field}" for run in arm.runs)


@dataclass(frozen=True, slots=True)
class _Episodes:
    """Episodes [R][T] of an arm on a split; `where` names the task group in their sources."""

    arm: Arm
    split: str
    runs: Sequence[Sequence[TrajectoryFacts]]
    config: ReportConfig
    where: str = ""

    def measure(self) -> EpisodeCounts:
        counts = count_trajectories(episode for run in self.runs for episode in run)
        valid = count_trajectories(
            episode for run in self.runs for episode in run if episode.is_valid
        )
        return EpisodeCounts(
            num_episodes=self._count(counts.num_trajectories),
            num_valid=self._count(counts.num_valid),
            num_success=self._count(counts.num_success),
            num_truncated=self._count(counts.statuses["truncated"]),
            num_invalid=self._count(counts.num_trajectories - counts.num_valid),
            success_rate=self._success_rate(),
            mean_score=self._mean("score", "outcome.score"),
            mean_steps=self._mean("num_steps", "steps"),
            invalid_step_share=SourcedEstimate(
                value=valid.invalid_step_share,
                method=STEP_SHARE,
                sources=self._sources("steps.is_invalid"),
            ),
        )

    def _sources(self, field: str) -> tuple[str, ...]:
        return episode_sources(self.arm, self.split, field + self.where)

    def _count(self, value: int) -> SourcedEstimate:
        return SourcedEstimate(value=value, method=COUNT, sources=self._sources("outcome.status"))

    def _bootstrap(self, values: Floats) -> Estimate:
        config = self.config
        return bootstrap_interval(values, config.seed, config.resamples, config.confidence)

    def _mean(self, field: str, source: str) -> SourcedEstimate:
        method = OVER_TASKS if len(self.runs) == 1 else OVER_TASKS_AND_RUNS
        values = episode_values(self.runs, field)
        return sourced(self._bootstrap(values), method, self._sources(source))

    def _success_rate(self) -> SourcedEstimate:
        sources = self._sources("outcome.status")
        values = episode_values(self.runs, "success")
        known = values[~np.isnan(values)]
        num_tasks = int((~np.isnan(values).all(axis=0)).sum())
        if num_tasks == 0:
            return SourcedEstimate(method=WILSON, sources=sources)
        # Where all episodes came out alike, nothing can be resampled: each task counts once, as
        # with a single run.
        if len(self.runs) == 1 or known.min() == known.max():
            successes = known.sum() if len(self.runs) == 1 else known.min() * num_tasks
            rate = wilson_interval(float(successes), num_tasks, self.config.confidence)
            return sourced(rate, WILSON, sources)
        return sourced(self._bootstrap(values), OVER_TASKS_AND_RUNS, sources)
