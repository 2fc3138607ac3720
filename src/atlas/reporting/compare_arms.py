"""Arms -> paired differences, in three families.

The families are: each arm against the reference, each arm against the base model, and the focus
against each control. Each family has several comparisons, so its p-values are adjusted together
(Holm 1979). The verdict uses the adjusted p-value.
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
    episodes_of,
    sourced,
)
from atlas.reporting.report import ArmComparison, ArmVerdict, Family, SourcedEstimate
from atlas.statistics.holm import holm_adjust
from atlas.statistics.intervals import wilson_interval
from atlas.statistics.paired_difference import PairedDifference, paired_bootstrap

ALL_ALIKE = "all tasks came out alike; limits from the Wilson limit of another outcome"
FAMILIES: tuple[Family, ...] = ("reference", "base", "focus")


def compare_arms(
    arms: Sequence[Arm], splits: Sequence[str], config: ReportConfig
) -> tuple[ArmComparison, ...]:
    """All paired comparisons of the report, by family, then by arm, then by split."""
    found = []
    for family in FAMILIES:
        pairs = [(*pair, split) for pair in _pairs(family, arms, config) for split in splits]
        results = [_difference(*pair, "success", config) for pair in pairs]
        adjusted = holm_adjust([result.p_value for result in results])
        for pair, result, p_adjusted in zip(pairs, results, adjusted, strict=True):
            found.append(_describe(family, *pair, result, p_adjusted, config))
    return tuple(found)


def _pairs(family: Family, arms: Sequence[Arm], config: ReportConfig) -> Iterator[tuple[Arm, Arm]]:
    by_name = {arm.name: arm for arm in arms}
    roles = {"reference": config.reference, "base": config.base, "focus": config.focus_arm}
    # The arms that are left out of a family.
    passed = {"reference": ("base",), "base": (), "focus": ("reference", "base")}[family]
    one = roles[family]
    if one is None:
        return
    for arm in arms:
        if arm.name not in (one, *(roles[role] for role in passed)):
            yield (by_name[one], arm) if family == "focus" else (arm, by_name[one])


def _difference(
    arm: Arm, against: Arm, split: str, field: str, config: ReportConfig
) -> PairedDifference:
    a, b = (episode_values(episodes_of(one, split), field) for one in (arm, against))
    return paired_bootstrap(a, b, config.seed, config.resamples, config.confidence)


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
    statuses, scores = (
        (*episode_sources(arm, split, field), *episode_sources(against, split, field))
        for field in ("outcome.status", "outcome.score")
    )
    score = _difference(arm, against, split, "score", config).difference
    return ArmComparison(
        arm=arm.name,
        against=against.name,
        split=split,
        family=family,
        success_difference=_success_difference(result, method, statuses, config.confidence),
        score_difference=sourced(score, method, scores),
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
    """The bootstrap interval; if all tasks have the same difference, limits from Wilson's interval.

    Wilson's limit says how often another outcome is still possible. Each such task changes the
    difference by 1, or by up to 2 if the arm won or lost all tasks.
    """
    value = result.difference.value
    if value is None or result.difference.limits is not None:
        return sourced(result.difference, method, sources)
    share = wilson_interval(0, result.num_tasks, confidence).high or 0.0
    low = max(-1.0, value - share * (2 if value > 0 else 1))
    high = min(1.0, value + share * (2 if value < 0 else 1))
    return SourcedEstimate(value=value, low=low, high=high, method=ALL_ALIKE, sources=sources)


def _judge(result: PairedDifference, p_adjusted: float | None, alpha: float) -> ArmVerdict:
    value = result.difference.value
    if result.p_value is None or p_adjusted is None or value is None:
        return "untested"
    if p_adjusted < alpha:
        return "better" if value > 0 else "worse"
    return "not_corrected" if result.p_value < alpha else "none"
