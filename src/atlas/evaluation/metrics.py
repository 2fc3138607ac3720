"""Episodes of one evaluation run -> its metrics, with intervals, and the same for each task group.

An episode that broke (status "error") or whose end is unknown is no failure: it is counted, shown, and left out of
every rate and mean. A truncated episode is valid and no success.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from atlas.records import Record, Trajectory
from atlas.statistics.intervals import Interval, bootstrap_interval, wilson_interval


class Estimate(Record):
    """A number with its 95 % interval; `value` is None where no episode could say anything, the limits where all said the same."""

    value: float | None
    low: float | None
    high: float | None


class GroupMetrics(Record):
    """What a set of episodes shows. The intervals cover the sampling of tasks, not the noise of training."""

    num_episodes: int
    num_valid: int
    num_success: int
    num_truncated: int
    num_errors: int
    num_unknown: int
    invalid_share: float | None = Field(
        description="errors and unknown ends, as a share of all episodes"
    )
    success_rate: Estimate = Field(description="successes among valid episodes, Wilson interval")
    mean_score: Estimate = Field(
        description="mean score of the valid episodes that have one, bootstrap interval"
    )
    mean_steps: Estimate = Field(
        description="mean number of steps of valid episodes, bootstrap interval"
    )


class EpisodeMetrics(GroupMetrics):
    """The metrics of one evaluation run, and those of each task group by name."""

    groups: dict[str, GroupMetrics] = Field(default_factory=dict)


def summarise_episodes(episodes: Sequence[Trajectory], seed: int = 0) -> EpisodeMetrics:
    """The metrics of `episodes`, over all and for each `task.group` in alphabetical order; `seed` drives the resampling."""
    groups: dict[str, list[Trajectory]] = {}
    for episode in episodes:
        groups.setdefault(episode.task.group, []).append(episode)
    return EpisodeMetrics(
        **_measure(episodes, seed).model_dump(),
        groups={group: _measure(groups[group], seed) for group in sorted(groups)},
    )


def _measure(episodes: Sequence[Trajectory], seed: int) -> GroupMetrics:
    statuses = Counter(episode.outcome.status for episode in episodes)
    valid = [episode for episode in episodes if episode.outcome.is_valid]
    scores = [episode.outcome.score for episode in valid if episode.outcome.score is not None]
    return GroupMetrics(
        num_episodes=len(episodes),
        num_valid=len(valid),
        num_success=statuses["success"],
        num_truncated=statuses["truncated"],
        num_errors=statuses["error"],
        num_unknown=statuses["unknown"],
        invalid_share=1 - len(valid) / len(episodes) if episodes else None,
        success_rate=_estimate(wilson_interval(statuses["success"], len(valid))),
        mean_score=_estimate(bootstrap_interval(scores, seed)),
        mean_steps=_estimate(bootstrap_interval([len(episode.steps) for episode in valid], seed)),
    )


def _estimate(interval: Interval) -> Estimate:
    if math.isnan(interval.estimate):
        return Estimate(value=None, low=None, high=None)
    low, high = (None if math.isnan(limit) else limit for limit in (interval.low, interval.high))
    return Estimate(value=interval.estimate, low=low, high=high)
