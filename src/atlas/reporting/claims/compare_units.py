"""Arms -> success on each environment of a scope or, where there is only one, on each task group.

Nothing is tested here: the intervals are not corrected for their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from atlas.reporting.arms import Arm
from atlas.reporting.claims.compare_arms import OVER_CHECKPOINTS, OVER_METHODS, arm_values
from atlas.reporting.claims.compare_values import ArmValues, ComparisonSettings, compare_values
from atlas.reporting.claims.settings import Average
from atlas.reporting.config import ReportConfig
from atlas.reporting.measures.measure import scope_sources, sourced
from atlas.reporting.report import Scope, UnitArm, UnitReport
from atlas.reporting.scopes import task_labels
from atlas.statistics.improvement import probability_of_improvement
from atlas.statistics.rates import success_rate

RATE = "Wilson score interval, with the noise of training where an arm has several runs"
IMPROVEMENT = "share of pairs of trainings, Newcombe's interval for the Mann-Whitney statistic"


@dataclass(frozen=True, slots=True)
class _Column:
    """Successes of an arm on a scope, NaN where no repetition is valid, and their sources."""

    values: ArmValues
    sources: tuple[str, ...]

    def inside(self, tasks: NDArray[np.bool_]) -> ArmValues:
        """The values on some of the tasks."""
        return replace(self.values, values=self.values.values[:, tasks])


def compare_units(
    arms: Sequence[Arm], scopes: Sequence[Scope], config: ReportConfig
) -> tuple[UnitReport, ...]:
    """All units of all scopes that have more than one."""
    return tuple(report for scope in scopes for report in _compare(arms, scope, config))


def _compare(arms: Sequence[Arm], scope: Scope, config: ReportConfig) -> Iterator[UnitReport]:
    kind: Literal["environment", "group"] = "environment"
    if len(scope.environments) < 2:
        kind = "group"
    units = _units(arms[0], scope, "groups" if kind == "group" else "environments")
    if len(set(units)) < 2:
        return
    columns = [
        _Column(values, scope_sources(arm, scope, "outcome.status"))
        for arm, values in zip(arms, arm_values(arms, scope, config.base), strict=True)
    ]
    against = next(one for one in columns if one.values.name == config.reference)
    for unit in dict.fromkeys(units):
        tasks = np.array([one == unit for one in units])
        yield UnitReport(
            scope=scope.name,
            kind=kind,
            unit=unit,
            num_tasks=int(tasks.sum()),
            arms=tuple(
                _measure(one, against, columns, tasks, config.confidence) for one in columns
            ),
        )


def _measure(
    own: _Column,
    against: _Column,
    columns: Sequence[_Column],
    tasks: NDArray[np.bool_],
    confidence: float,
) -> UnitArm:
    arm, reference = own.inside(tasks), against.inside(tasks)
    rate = success_rate(arm.values, confidence=confidence).rate
    measured = UnitArm(arm=arm.name, success_rate=sourced(rate, RATE, own.sources))
    if own is against:
        return measured
    settings = ComparisonSettings(None, None, None, None, confidence)
    test = compare_values(arm, reference, [one.inside(tasks) for one in columns], settings)
    sources = (*own.sources, *against.sources)
    method = OVER_METHODS if test.claim == "methods" else OVER_CHECKPOINTS
    known: dict[str, Any] = {"claim": test.claim}
    known["difference"] = sourced(test.difference, method, sources)
    if test.claim == "methods":
        likely = probability_of_improvement(arm.values, reference.values, confidence=confidence)
        known["improvement"] = sourced(likely, IMPROVEMENT, sources)
    return measured.model_copy(update=known)


def _units(arm: Arm, scope: Scope, average: Average) -> list[str]:
    """The unit of each task of a scope, in the order of the values."""
    evaluations = [arm.runs[0].evaluations[split] for split in scope.splits]
    labels = (label for one in evaluations for label in task_labels(one, average))
    # The only environment of a scope is not repeated before each of its groups.
    known = f"{next(iter(scope.environments))} " if len(scope.environments) == 1 else ""
    return [label.removeprefix(known) for label in labels]
