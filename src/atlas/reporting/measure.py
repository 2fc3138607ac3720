"""Episodes of an arm -> its numbers on a split, whole and by task group, with intervals that name what they cover."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from atlas.reporting.arms import Arm, Episode
from atlas.reporting.config import ReportConfig
from atlas.reporting.report import EpisodeCounts, Number, SplitResult
from atlas.statistics.intervals import Floats, Interval, bootstrap_interval, wilson_interval

COUNT = "count"
WILSON = "Wilson score interval over tasks"
ALL_EQUAL = "all values are equal, which leaves nothing to resample"
OVER_TASKS = "bootstrap over tasks"
OVER_TASKS_AND_RUNS = "bootstrap over tasks and runs"


def measure_split(arm: Arm, split: str, config: ReportConfig) -> SplitResult:
    """What `arm` did on `split`; groups in alphabetical order, none where the tasks carry no group."""
    runs = [tuple(run.evaluations[split].episodes.values()) for run in arm.runs]
    groups = sorted({episode.group for episode in runs[0] if episode.group})
    return SplitResult(
        split=split,
        num_tasks=len(runs[0]),
        total=_measure(arm, split, runs, config, where=""),
        groups={
            group: _measure(
                arm,
                split,
                [[episode for episode in episodes if episode.group == group] for episodes in runs],
                config,
                where=f"[task.group={group}]",
            )
            for group in groups
        },
    )


def episode_values(runs: Sequence[Sequence[Episode]], field: str) -> Floats:
    """(R, T) values of one field: "success" as 0 or 1, "score", "num_steps"; NaN for an invalid episode or a missing score."""
    read = FIELDS[field]
    return np.array(
        [
            [read(episode) if episode.is_valid else math.nan for episode in episodes]
            for episodes in runs
        ],
        dtype=np.float64,
    )


def number(interval: Interval, method: str, sources: tuple[str, ...]) -> Number:
    """An interval as a number of the report; NaN becomes None."""
    if math.isnan(interval.estimate):
        return Number(value=None, method=method, sources=sources)
    if math.isnan(interval.low):
        return Number(value=interval.estimate, method=ALL_EQUAL, sources=sources)
    return Number(
        value=interval.estimate,
        low=interval.low,
        high=interval.high,
        method=method,
        sources=sources,
    )


def episode_sources(arm: Arm, split: str, field: str) -> tuple[str, ...]:
    return tuple(f"{run.evaluations[split].folder.name}/episodes.jsonl#{field}" for run in arm.runs)


FIELDS: dict[str, Callable[[Episode], float]] = {
    "success": lambda episode: float(episode.status == "success"),
    "score": lambda episode: math.nan if episode.score is None else episode.score,
    "num_steps": lambda episode: float(episode.num_steps),
}


def _measure(
    arm: Arm, split: str, runs: Sequence[Sequence[Episode]], config: ReportConfig, where: str
) -> EpisodeCounts:
    def count(claim: Callable[[Episode], bool]) -> Number:
        total = sum(claim(episode) for episodes in runs for episode in episodes)
        return Number(
            value=total, method=COUNT, sources=episode_sources(arm, split, "outcome.status" + where)
        )

    def mean(field: str, source: str) -> Number:
        interval = bootstrap_interval(
            episode_values(runs, field), config.seed, config.resamples, config.confidence
        )
        method = OVER_TASKS if len(runs) == 1 else OVER_TASKS_AND_RUNS
        return number(interval, method, episode_sources(arm, split, source + where))

    return EpisodeCounts(
        num_episodes=count(lambda episode: True),
        num_valid=count(lambda episode: episode.is_valid),
        num_success=count(lambda episode: episode.status == "success"),
        num_truncated=count(lambda episode: episode.status == "truncated"),
        num_invalid=count(lambda episode: not episode.is_valid),
        success_rate=_success_rate(arm, split, runs, config, where),
        mean_score=mean("score", "outcome.score"),
        mean_steps=mean("num_steps", "steps"),
    )


def _success_rate(
    arm: Arm, split: str, runs: Sequence[Sequence[Episode]], config: ReportConfig, where: str
) -> Number:
    sources = episode_sources(arm, split, "outcome.status" + where)
    values = episode_values(runs, "success")
    known = values[~np.isnan(values)]
    num_tasks = int((~np.isnan(values).all(axis=0)).sum())
    if num_tasks == 0:
        return Number(value=None, method=WILSON, sources=sources)
    # Where all episodes came out alike there is nothing to resample: the tasks are counted once each, as with a single run.
    if len(runs) == 1 or known.min() == known.max():
        successes = known.sum() if len(runs) == 1 else known.min() * num_tasks
        return number(
            wilson_interval(float(successes), num_tasks, config.confidence), WILSON, sources
        )
    return number(
        bootstrap_interval(values, config.seed, config.resamples, config.confidence),
        OVER_TASKS_AND_RUNS,
        sources,
    )
