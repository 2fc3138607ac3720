"""Episodes of one evaluation run -> its metrics with intervals, and the same for each task group.

An episode that broke (status "error") or whose end is unknown is not a failure: it is counted and
shown, and left out of every rate and mean. A truncated episode is valid, and not a success.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.records import Record, Trajectory
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval, wilson_interval
from atlas.statistics.trajectory_summary import TrajectoryFacts, count_trajectories


class GroupMetrics(Record):
    """What a set of episodes shows; the intervals cover the sampling of tasks, not training.

    `invalid_share` is of all episodes, and counts errors and unknown ends. Rates, means and counts
    of steps are over valid episodes. `success_rate` has a Wilson interval, the means (of the scores
    that are known, and of steps) have bootstrap intervals. Invalid steps are those that the
    environment could not carry out, as a share of the steps for which it said so or not.
    """

    num_episodes: int
    num_valid: int
    num_success: int
    num_truncated: int
    num_errors: int
    num_unknown: int
    invalid_share: float | None
    success_rate: Estimate
    mean_score: Estimate
    mean_steps: Estimate
    num_invalid_steps: int
    invalid_step_share: float | None


class EpisodeMetrics(GroupMetrics):
    """The metrics of one evaluation run, and those of each task group by name."""

    groups: dict[str, GroupMetrics]


def summarize_episodes(episodes: Sequence[Trajectory], seed: int = 0) -> EpisodeMetrics:
    """The metrics over all episodes of a run and for each `task.group`, in alphabetical order."""
    facts = [TrajectoryFacts.of(episode) for episode in episodes]
    groups = {
        group: _measure([fact for fact in facts if fact.group == group], seed)
        for group in sorted({fact.group for fact in facts})
    }
    return EpisodeMetrics(**_measure(facts, seed).model_dump(), groups=groups)


def _measure(episodes: Sequence[TrajectoryFacts], seed: int) -> GroupMetrics:
    valid = [episode for episode in episodes if episode.is_valid]
    counts, valid_counts = count_trajectories(episodes), count_trajectories(valid)
    scores = [episode.score for episode in valid if episode.score is not None]
    return GroupMetrics(
        num_episodes=len(episodes),
        num_valid=len(valid),
        num_success=counts.num_success,
        num_truncated=counts.statuses["truncated"],
        num_errors=counts.statuses["error"],
        num_unknown=counts.statuses["unknown"],
        invalid_share=1 - len(valid) / len(episodes) if episodes else None,
        success_rate=wilson_interval(counts.num_success, len(valid)),
        mean_score=bootstrap_interval(scores, seed),
        mean_steps=bootstrap_interval([episode.num_steps for episode in valid], seed),
        num_invalid_steps=valid_counts.num_invalid_steps,
        invalid_step_share=valid_counts.invalid_step_share,
    )
