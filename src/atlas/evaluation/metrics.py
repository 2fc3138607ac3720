"""Episodes of one evaluation run -> metrics with intervals, for the run and for each task group.

An episode with the status "error" or "unknown" is not a failure: it is counted separately and left
out of all rates and means. A truncated episode is valid and counts as not successful.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.records import Record, Trajectory
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval, wilson_interval
from atlas.statistics.trajectory_summary import TrajectoryFacts, TurnShares, count_trajectories


class GroupMetrics(Record):
    """Metrics of a set of episodes; the intervals cover the sampling of tasks only.

    `invalid_share` is the share of all episodes that ended as "error" or "unknown". All other
    rates, means and counts of steps are over valid episodes. `success_rate` has a Wilson interval,
    the means have bootstrap intervals; `mean_score` ignores missing scores. An invalid step is one
    that the environment could not carry out. `invalid_step_share` is over the steps for which the
    environment reported whether they were valid. Of these, an actionless step has no action at all,
    and a repeated one has an action that was taken earlier in the episode after the same
    observation. A cut step is a response that reached the token limit.

    `num_errors` counts the episodes without a score: in `num_refused` of them the player declined
    to answer, the `num_crashed` others broke. Tokens are means over valid episodes for which they
    are known: those read are summed over the turns, each of which reads the whole history.
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
    num_actionless_steps: int = 0
    actionless_step_share: float | None = None
    num_repeated_steps: int = 0
    repeated_step_share: float | None = None
    num_cut_steps: int | None = None
    cut_step_share: float | None = None
    num_refused: int = 0
    num_crashed: int = 0
    mean_input_tokens: Estimate = Estimate()
    mean_output_tokens: Estimate = Estimate()


class EpisodeMetrics(GroupMetrics):
    """The metrics of one evaluation run, and those of each task group by name.

    `cost_usd` is what a remote model was paid in the whole run, also for episodes that were played
    again; None without a known price.
    """

    groups: dict[str, GroupMetrics]
    cost_usd: float | None = None


def summarize_episodes(episodes: Sequence[Trajectory], seed: int = 0) -> EpisodeMetrics:
    """Metrics over all episodes of a run, and for each `task.group` in alphabetical order."""
    facts = [TrajectoryFacts.of(episode) for episode in episodes]
    groups = {
        group: _measure([fact for fact in facts if fact.group == group], seed)
        for group in sorted({fact.group for fact in facts})
    }
    return EpisodeMetrics(**_measure(facts, seed).model_dump(), groups=groups)


def _measure(episodes: Sequence[TrajectoryFacts], seed: int) -> GroupMetrics:
    valid = [episode for episode in episodes if episode.is_valid]
    turns = TurnShares.of(valid)
    counts, valid_counts = count_trajectories(episodes), count_trajectories(valid)
    scores = [episode.score for episode in valid if episode.score is not None]
    usages = [episode.usage for episode in valid if episode.usage is not None]
    num_refused = sum(episode.is_refused for episode in episodes)
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
        mean_steps=bootstrap_interval([episode.num_steps or 0 for episode in valid], seed),
        num_invalid_steps=valid_counts.num_invalid_steps,
        invalid_step_share=valid_counts.invalid_step_share,
        num_actionless_steps=turns.num_actionless,
        actionless_step_share=turns.actionless,
        num_repeated_steps=turns.num_repeated,
        repeated_step_share=turns.repeated,
        num_cut_steps=turns.num_cut,
        cut_step_share=turns.cut,
        num_refused=num_refused,
        num_crashed=counts.statuses["error"] - num_refused,
        mean_input_tokens=bootstrap_interval([usage.input_tokens for usage in usages], seed),
        mean_output_tokens=bootstrap_interval([usage.output_tokens for usage in usages], seed),
    )
