"""Episodes of an arm -> its numbers on splits, groups and scopes, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.records import CUT_STEPS, USAGE
from atlas.reporting.arms import Arm, is_method
from atlas.reporting.config import ReportConfig
from atlas.reporting.measures.episode_values import repeated_values
from atlas.reporting.report import (
    EpisodeCounts,
    RepetitionFigures,
    Scope,
    ScopeResult,
    SourcedEstimate,
    SplitResult,
)
from atlas.reporting.scopes import averages_of, scope_strata, scope_values
from atlas.statistics.bootstrap import Floats, mean_per_task
from atlas.statistics.crossed_difference import estimate_seed_variance
from atlas.statistics.estimate import Estimate
from atlas.statistics.intervals import bootstrap_interval
from atlas.statistics.rates import SuccessRate, success_rate
from atlas.statistics.repeated_tasks import flip_rate, pass_hat_k
from atlas.statistics.trajectory_summary import TrajectoryFacts, TurnShares, count_trajectories

COUNT = "count"
STEP_SHARE = "share of the steps of valid episodes for which it is known"
CUT_SHARE = "share of the steps of valid episodes whose player says which answers were cut"
WILSON = "Wilson score interval over tasks"
WILSON_OVER_RUNS = (
    "Wilson score interval with the effective number of tasks, over trainings as well"
)
ALL_EQUAL = "all values are equal, which leaves nothing to resample"
OVER_TASKS = "bootstrap over tasks"
OVER_TASKS_AND_RUNS = "bootstrap over tasks and runs"
OWN_SEED_SD = "SD between the arm's own trainings, without the noise of tasks"
REPEATED = "over the repetitions of each task, "

# The episodes of an arm: for each run, for each task, one per repetition.
Played = Sequence[Sequence[Sequence[TrajectoryFacts]]]


def measure_split(arm: Arm, split: str, config: ReportConfig) -> SplitResult:
    """The numbers of `arm` on `split`.

    Groups are in alphabetical order; there are none if the tasks have no group.
    """
    runs = [list(run.evaluations[split].played()) for run in arm.runs]
    groups = {
        group: [[task for task in tasks if task[0].group == group] for tasks in runs]
        for group in sorted({task[0].group for task in runs[0] if task[0].group})
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


def measure_scope(arm: Arm, scope: Scope, config: ReportConfig) -> ScopeResult:
    """The success of `arm` on a scope: by each average, by training, and over repetitions."""
    values = scope_values(arm, scope, "success")
    sources = scope_sources(arm, scope, "outcome.status")
    is_trained = is_method(arm, config.base) and len(values) > 1
    seeds = None
    if is_trained:
        seeds = estimate_seed_variance([values], scope_strata(arm, scope, config.average))
    return ScopeResult(
        scope=scope.name,
        num_tasks=scope.num_tasks,
        rates={
            average: _rate(
                success_rate(
                    values,
                    strata=scope_strata(arm, scope, average),
                    confidence=config.confidence,
                ),
                sources,
            )
            for average in averages_of(scope, config.average)
        },
        run_rates=tuple(
            _rate(success_rate(row, confidence=config.confidence), run_sources)
            for row, run_sources in zip(values, _sources_by_run(arm, scope), strict=True)
        ),
        seed_sd=SourcedEstimate(
            value=None if seeds is None else seeds.seed_sd, method=OWN_SEED_SD, sources=sources
        ),
        repetitions=_measure_repetitions(arm, scope, config),
    )


def sourced(estimate: Estimate, method: str, sources: tuple[str, ...]) -> SourcedEstimate:
    """An estimate with its method and sources."""
    if estimate.value is not None and estimate.limits is None:
        method = ALL_EQUAL
    return SourcedEstimate(**estimate.model_dump(), method=method, sources=sources)


def episode_sources(arm: Arm, split: str, field: str) -> tuple[str, ...]:
    """The sources of a field of the episodes, one per run and repetition."""
    return tuple(
        f"{repetition.folder.episodes_source}#{field}"
        for run in arm.runs
        for repetition in run.evaluations[split].repetitions
    )


def scope_sources(arm: Arm, scope: Scope, field: str) -> tuple[str, ...]:
    """The sources of a field of the episodes on all splits of a scope."""
    return tuple(source for split in scope.splits for source in episode_sources(arm, split, field))


def _measure_episodes(
    arm: Arm,
    split: str,
    runs: Played,
    config: ReportConfig,
    where: str = "",
) -> EpisodeCounts:
    """The numbers of the episodes of each run; `where` names their task group in the sources."""
    episodes = [episode for tasks in runs for repeated in tasks for episode in repeated]
    counts = count_trajectories(episodes)
    valid = count_trajectories(episode for episode in episodes if episode.is_valid)
    statuses = episode_sources(arm, split, f"outcome.status{where}")

    def number(value: int) -> SourcedEstimate:
        return SourcedEstimate(value=value, method=COUNT, sources=statuses)

    def mean(field: str, source: str) -> SourcedEstimate:
        method = OVER_TASKS if len(runs) == 1 else OVER_TASKS_AND_RUNS
        estimate = _bootstrap(_values(runs, field), config)
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
        success_rate=_rate(
            success_rate(_values(runs, "success"), confidence=config.confidence), statuses
        ),
        mean_score=mean("score", "outcome.score"),
        mean_steps=mean("num_steps", "steps"),
        invalid_step_share=share(valid.invalid_step_share, "steps.is_invalid"),
        actionless_step_share=share(turns.actionless, "steps.action"),
        repeated_step_share=share(turns.repeated, "steps.action"),
        cut_step_share=share(turns.cut, f"source.details.{CUT_STEPS}", CUT_SHARE),
        mean_input_tokens=mean("input_tokens", f"source.details.{USAGE}.input_tokens"),
        mean_output_tokens=mean("output_tokens", f"source.details.{USAGE}.output_tokens"),
    )


def _values(runs: Played, field: str) -> Floats:
    """The values of a field [R, T], repetitions averaged."""
    return np.stack([mean_per_task(repeated_values(tasks, field)) for tasks in runs])


def _rate(found: SuccessRate, sources: tuple[str, ...]) -> SourcedEstimate:
    method = WILSON_OVER_RUNS if found.covers_seeds else WILSON
    return SourcedEstimate(**found.rate.model_dump(), method=method, sources=sources)


def _measure_repetitions(arm: Arm, scope: Scope, config: ReportConfig) -> RepetitionFigures | None:
    """None if no task of the scope was played twice."""
    columns = []
    for run in arm.runs:
        played = [task for split in scope.splits for task in run.evaluations[split].played()]
        most = max(map(len, played))
        # Splits may be repeated a different number of times.
        column = np.full((most, len(played)), np.nan)
        for place, episodes in enumerate(played):
            column[: len(episodes), place] = repeated_values([episodes], "success")[:, 0]
        columns.append(column)
    deepest = max(map(len, columns))
    # [R, E, T]: trainings, repetitions, tasks.
    values = np.stack(
        [np.pad(one, ((0, deepest - len(one)), (0, 0)), constant_values=np.nan) for one in columns]
    )
    num_valid = (~np.isnan(values)).sum(axis=1).max(axis=0)
    if num_valid.max(initial=0) < 2:
        return None
    sources = scope_sources(arm, scope, "outcome.status")
    how = (config.seed, config.resamples, config.confidence)
    method = REPEATED + (OVER_TASKS if len(values) == 1 else OVER_TASKS_AND_RUNS)
    return RepetitionFigures(
        num_repetitions=deepest,
        num_tasks=int((num_valid >= 2).sum()),
        pass_hat={
            k: sourced(pass_hat_k(values, k, *how), method, sources)
            for k in range(1, int(num_valid.max()) + 1)
        },
        flip_rate=sourced(flip_rate(values, *how), method, sources),
    )


def _sources_by_run(arm: Arm, scope: Scope) -> list[tuple[str, ...]]:
    return [scope_sources(Arm(arm.config, (run,)), scope, "outcome.status") for run in arm.runs]


def _bootstrap(values: Floats, config: ReportConfig) -> Estimate:
    return bootstrap_interval(values, config.seed, config.resamples, config.confidence)
