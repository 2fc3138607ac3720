"""Arms -> paired differences, in three families.

The families are: each arm against the reference, each arm against the base model, and the focus
against each control. A family asks its question of several arms and splits at once, so its p-values
are adjusted together (Holm 1979), and the verdict follows the adjusted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atlas.reporting.arms import Arm
from atlas.reporting.config import ReportConfig
from atlas.reporting.measure import (
    OVER_TASKS,
    OVER_TASKS_AND_RUNS,
    episode_sources,
    episode_values,
    sourced,
)
from atlas.reporting.report import ArmComparison, ArmVerdict, Family, SourcedEstimate
from atlas.statistics.intervals import wilson_interval
from atlas.statistics.paired_difference import PairedDifference, holm_adjust, paired_bootstrap
from atlas.statistics.trajectory_summary import TrajectoryFacts

ALL_ALIKE = "all tasks came out alike; limits from the Wilson limit of another outcome"
FAMILIES: tuple[Family, ...] = ("reference", "base", "focus")


def compare_arms(
    arms: Sequence[Arm], splits: Sequence[str], config: ReportConfig
) -> tuple[ArmComparison, ...]:
    """All paired comparisons of the report, by family, then by arm, then by split."""
    return tuple(
        comparison
        for family in FAMILIES
        for comparison in _compare_family(family, arms, splits, config)
    )


def _compare_family(
    family: Family, arms: Sequence[Arm], splits: Sequence[str], config: ReportConfig
) -> list[ArmComparison]:
    pairs = [
        (arm, against, split) for arm, against in _pairs(family, arms, config) for split in splits
    ]
    results = [_difference(arm, against, split, "success", config) for arm, against, split in pairs]
    adjusted = holm_adjust([result.p_value for result in results])
    return [
        _describe(family, arm, against, split, result, p_adjusted, config)
        for (arm, against, split), result, p_adjusted in zip(pairs, results, adjusted, strict=True)
    ]


def _pairs(family: Family, arms: Sequence[Arm], config: ReportConfig) -> Iterator[tuple[Arm, Arm]]:
    by_name = {arm.name: arm for arm in arms}
    for arm in arms:
        if family == "reference" and arm.name not in (config.reference, config.base):
            yield arm, by_name[config.reference]
        elif family == "base" and config.base is not None and arm.name != config.base:
            yield arm, by_name[config.base]
        elif (
            family == "focus"
            and config.focus_arm is not None
            and arm.name not in (config.reference, config.base, config.focus_arm)
        ):
            yield by_name[config.focus_arm], arm


def _difference(
    arm: Arm, against: Arm, split: str, field: str, config: ReportConfig
) -> PairedDifference:
    a, b = (
        episode_values(_episodes(arm, split), field),
        episode_values(_episodes(against, split), field),
    )
    return paired_bootstrap(a, b, config.seed, config.resamples, config.confidence)


def _episodes(arm: Arm, split: str) -> list[list[TrajectoryFacts]]:
    return [list(run.evaluations[split].episodes.values()) for run in arm.runs]


def _describe(
    family: Family,
    arm: Arm,
    against: Arm,
    split: str,
    result: PairedDifference,
    p_adjusted: float | None,
    config: ReportConfig,
) -> ArmComparison:
    method = OVER_TASKS if len(arm.runs) == len(against.runs) == 1 else OVER_TASKS_AND_RUNS
    both = [(arm, split), (against, split)]
    return ArmComparison(
        arm=arm.name,
        against=against.name,
        split=split,
        family=family,
        success_difference=_success_difference(
            result, method, _sources(both, "outcome.status"), config.confidence
        ),
        score_difference=sourced(
            _difference(arm, against, split, "score", config).difference,
            method,
            _sources(both, "outcome.score"),
        ),
        p_value=result.p_value,
        p_adjusted=p_adjusted,
        num_tasks=result.num_tasks,
        num_higher=result.num_higher,
        num_lower=result.num_lower,
        num_tied=result.num_tied,
        verdict=_judge(result, p_adjusted, round(1 - config.confidence, 9)),
    )


def _success_difference(
    result: PairedDifference, method: str, sources: tuple[str, ...], confidence: float
) -> SourcedEstimate:
    """The bootstrap's interval, or where every task came out alike a limit from Wilson's.

    Where all tasks came out alike, the limit says how often another outcome is still possible. A
    task that comes out otherwise moves the difference by 1, or by at most 2 where the arm won or
    lost all of them.
    """
    value = result.difference.value
    if value is None or result.difference.limits is not None:
        return sourced(result.difference, method, sources)
    share = wilson_interval(0, result.num_tasks, confidence).high or 0.0
    low = max(-1.0, value - share * (2 if value > 0 else 1))
    high = min(1.0, value + share * (2 if value < 0 else 1))
    return SourcedEstimate(value=value, low=low, high=high, method=ALL_ALIKE, sources=sources)


def _sources(arms: list[tuple[Arm, str]], field: str) -> tuple[str, ...]:
    return tuple(source for arm, split in arms for source in episode_sources(arm, split, field))


def _judge(result: PairedDifference, p_adjusted: float | None, alpha: float) -> ArmVerdict:
    value = result.difference.value
    if result.p_value is None or p_adjusted is None or value is None:
        return "untested"
    if p_adjusted < alpha:
        return "better" if value > 0 else "worse"
    return "not_corrected" if result.p_value < alpha else "none"
