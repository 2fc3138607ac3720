"""Arms -> paired differences with verdicts, which are one family.

There is a table for each role: the primary comparison, each arm against the reference, the focus
against each control, and each arm against the base model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.reporting.arms import Arm, is_method
from atlas.reporting.claims.compare_values import (
    ArmValues,
    ClaimTest,
    ComparisonSettings,
    compare_values,
    pooled_arms,
    seed_variance,
)
from atlas.reporting.claims.judge_family import ComparedPair, Judgment, judge_family
from atlas.reporting.claims.settings import Average
from atlas.reporting.config import ReportConfig
from atlas.reporting.identities import shared_trainings
from atlas.reporting.measures.measure import scope_sources
from atlas.reporting.report import (
    ArmComparison,
    Block,
    BrokenAsFailed,
    RegistrationStatus,
    Scope,
    SeedNoise,
    SourcedEstimate,
)
from atlas.reporting.scopes import averages_of, scope_strata, scope_values

BLOCKS: tuple[Block, ...] = ("primary", "reference", "focus", "base")
OVER_CHECKPOINTS = "paired, over tasks: two checkpoints (sign flips, Bonett and Price 2012)"
OVER_METHODS = "paired t over tasks and trainings, the noise of trainings pooled over arms"
OVER_ASSUMED = "paired t over tasks, with an assumed SD of seeds"
OVER_TASKS = "paired t: two checkpoints"
OVER_GROUPS = ", groups of tasks as units"
SEED_METHOD = "SD between trainings without the noise of tasks, pooled over arms"


@dataclass(frozen=True, slots=True)
class _Pair:
    block: Block
    arm: Arm
    against: Arm
    scope: Scope
    is_primary: bool


def compare_arms(
    arms: Sequence[Arm],
    scopes: Sequence[Scope],
    config: ReportConfig,
    registration: RegistrationStatus,
) -> tuple[ArmComparison, ...]:
    """All paired comparisons of the report, by block, then by arm, then by scope."""
    pairs = list(_find_pairs(arms, scopes, config))
    tables = {scope.name: _ScopeTable(arms, scope, config) for scope in scopes}
    compared = [
        ComparedPair(
            (table := tables[pair.scope.name]).test(pair, "success", config.average),
            table.test(pair, "failed", config.average) if table.has_broken(pair) else None,
            pair.is_primary and registration == "kept",
        )
        for pair in pairs
    ]
    judgments = judge_family(compared, config.confidence)
    return tuple(
        _describe(pair, both, judgment, tables[pair.scope.name], config)
        for pair, both, judgment in zip(pairs, compared, judgments, strict=True)
    )


def arm_values(
    arms: Sequence[Arm],
    scope: Scope,
    base: str | None,
    field: str = "success",
    broken: float = math.nan,
) -> list[ArmValues]:
    """The values of all arms on a scope.

    Args:
        base: the arm of the untuned model.
        broken: what an invalid episode counts as; NaN leaves it out.
    """
    shares = shared_trainings(arms)
    return [
        ArmValues(
            arm.name,
            scope_values(arm, scope, field, broken),
            is_method(arm, base),
            shares[arm.name],
        )
        for arm in arms
    ]


def measure_seed_noise(
    arms: Sequence[Arm], scopes: Sequence[Scope], config: ReportConfig
) -> tuple[SeedNoise, ...]:
    """How much trainings vary on each scope, over all arms that are pooled."""
    found = []
    for scope in scopes:
        table = _ScopeTable(arms, scope, config)
        pooled = pooled_arms(table.values("success"))
        seeds = seed_variance(pooled, table.settings(config.average, config.margin))
        if seeds is not None:
            names = {arm.name for arm in pooled}
            sources = [
                source
                for arm in arms
                if arm.name in names
                for source in scope_sources(arm, scope, "outcome.status")
            ]
            sd = SourcedEstimate(value=seeds.seed_sd, method=SEED_METHOD, sources=tuple(sources))
            one = SeedNoise(
                scope=scope.name,
                seed_sd=sd,
                degrees=seeds.degrees,
                arms=tuple(arm.name for arm in pooled),
            )
            found.append(one)
    return tuple(found)


class _ScopeTable:
    """The values of all arms on one scope, computed once."""

    def __init__(self, arms: Sequence[Arm], scope: Scope, config: ReportConfig) -> None:
        self._arms, self._scope, self._config = arms, scope, config
        self._values: dict[str, list[ArmValues]] = {}

    def values(self, field: str) -> list[ArmValues]:
        """Those of all arms; the field `failed` is success, with broken episodes as failures."""
        if field not in self._values:
            read, broken = ("success", 0.0) if field == "failed" else (field, math.nan)
            self._values[field] = arm_values(
                self._arms, self._scope, self._config.base, read, broken
            )
        return self._values[field]

    def settings(self, average: Average, margin: float | None) -> ComparisonSettings:
        config = self._config
        strata = scope_strata(self._arms[0], self._scope, average)
        return ComparisonSettings(
            strata=strata,
            groups=strata if config.generalize_over == "group" and average == "groups" else None,
            margin=None if margin is None else margin / 100,
            seed_sd=None if config.seed_sd is None else config.seed_sd / 100,
            confidence=config.confidence,
        )

    def test(self, pair: _Pair, field: str, average: Average) -> ClaimTest:
        values = self.values(field)
        arm, against = (
            next(one for one in values if one.name == name)
            for name in (pair.arm.name, pair.against.name)
        )
        # Nobody asks whether a tuned arm is as good as the untuned model.
        margin = None if pair.block == "base" else self._config.margin
        return compare_values(arm, against, values, self.settings(average, margin))

    def has_broken(self, pair: _Pair) -> bool:
        runs = (run for arm in (pair.arm, pair.against) for run in arm.runs)
        played = (
            episodes
            for run in runs
            for split in self._scope.splits
            for episodes in run.evaluations[split].played()
        )
        return any(not episode.is_valid for episodes in played for episode in episodes)


def _find_pairs(
    arms: Sequence[Arm], scopes: Sequence[Scope], config: ReportConfig
) -> Iterator[_Pair]:
    """The primary comparison first; no pair of arms is compared twice on a scope."""
    by_name = {arm.name: arm for arm in arms}
    seen: set[tuple[frozenset[str], str]] = set()
    primary = config.primary
    for block in BLOCKS:
        for arm, against in _pairs_of(block, by_name, config):
            for scope in scopes:
                if block == "primary" and primary is not None and scope.name != primary.scope:
                    continue
                key = (frozenset((arm.name, against.name)), scope.name)
                if key not in seen:
                    seen.add(key)
                    yield _Pair(block, arm, against, scope, block == "primary")


def _pairs_of(
    block: Block, arms: dict[str, Arm], config: ReportConfig
) -> Iterator[tuple[Arm, Arm]]:
    if block == "primary":
        if config.primary is not None:
            yield arms[config.primary.arm], arms[config.primary.against]
        return
    roles = {"reference": config.reference, "base": config.base, "focus": config.focus_arm}
    # The arms that are left out of a block.
    passed = {"reference": ("base",), "base": (), "focus": ("reference", "base")}[block]
    one = roles[block]
    if one is None:
        return
    for arm in arms.values():
        if arm.name not in (one, *(roles[role] for role in passed)):
            yield (arms[one], arm) if block == "focus" else (arm, arms[one])


def _describe(
    pair: _Pair,
    compared: ComparedPair,
    judgment: Judgment,
    table: _ScopeTable,
    config: ReportConfig,
) -> ArmComparison:
    found, other = compared.left_out, compared.broken_as_failed
    statuses, scores = (
        (
            *scope_sources(pair.arm, pair.scope, field),
            *scope_sources(pair.against, pair.scope, field),
        )
        for field in ("outcome.status", "outcome.score")
    )

    def difference(test: ClaimTest, sources: tuple[str, ...]) -> SourcedEstimate:
        known = test.difference.model_dump()
        return SourcedEstimate(**known, method=_method(test), sources=sources)

    averages = {
        average: difference(table.test(pair, "success", average), statuses)
        for average in averages_of(pair.scope, config.average)
    }
    # The Holm step before any other comparison is decided.
    first_level = 1 - (1 - config.confidence) * judgment.first_share
    return ArmComparison(
        arm=pair.arm.name,
        against=pair.against.name,
        scope=pair.scope.name,
        block=pair.block,
        is_primary=pair.is_primary,
        claim=found.claim,
        verdict=judgment.verdict,
        within_margin=judgment.within_margin,
        average=config.average,
        success_difference=averages[config.average],
        averages=averages,
        score_difference=difference(table.test(pair, "score", config.average), scores),
        p_value=found.p_equal,
        p_mid=found.p_mid,
        p_adjusted=judgment.p_adjusted,
        num_trainings=found.num_runs,
        seed_sd=found.seed_sd,
        tipping_seed_sd=found.tipping_sd,
        minimum_detectable=found.minimum_detectable(first_level),
        num_tasks=found.num_tasks,
        num_higher=found.counts[0],
        num_lower=found.counts[1],
        num_tied=found.counts[2],
        broken_as_failed=None
        if other is None
        else BrokenAsFailed(
            success_difference=difference(other, statuses),
            p_value=other.p_equal,
            is_decisive=judgment.is_decided_by_broken,
        ),
    )


def _method(found: ClaimTest) -> str:
    methods = {
        "methods": OVER_METHODS,
        "assumed": OVER_ASSUMED,
        "checkpoints": OVER_CHECKPOINTS,
    }
    if not found.over_groups:
        return methods[found.claim]
    # The signs of groups are not flipped.
    return (OVER_TASKS if found.claim == "checkpoints" else methods[found.claim]) + OVER_GROUPS
