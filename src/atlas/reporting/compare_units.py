"""Arms -> success on each environment of a scope or, where there is only one, on each task group.

Nothing is tested here: the intervals are not corrected for their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atlas.reporting.arms import Arm
from atlas.reporting.claim_settings import Average
from atlas.reporting.difference_interval import MIN_TRAININGS, difference_interval
from atlas.reporting.report import Scope, SourcedEstimate, UnitArm, UnitReport
from atlas.reporting.scopes import scope_values, task_labels
from atlas.statistics.bootstrap import Floats
from atlas.statistics.improvement import probability_of_improvement
from atlas.statistics.rates import success_rate

RATE = "Wilson score interval, with the noise of training where an arm has several runs"
IMPROVEMENT = "share of pairs of trainings, Newcombe's interval for the Mann-Whitney statistic"


@dataclass(frozen=True, slots=True)
class _Cells:
    """Successes of an arm on a scope [R, T], NaN where no repetition is valid."""

    arm: Arm
    values: Floats
    files: tuple[str, ...]


def compare_units(
    arms: Sequence[Arm], scopes: Sequence[Scope], reference: str, confidence: float
) -> tuple[UnitReport, ...]:
    """All units of all scopes that have more than one."""
    return tuple(
        report for scope in scopes for report in _compare(arms, scope, reference, confidence)
    )


def _compare(
    arms: Sequence[Arm], scope: Scope, reference: str, confidence: float
) -> Iterator[UnitReport]:
    kind: Literal["environment", "group"] = "environment"
    if len(scope.environments) < 2:
        kind = "group"
    units = _units(arms[0], scope, f"{kind}s")
    if len(set(units)) < 2:
        return
    cells = [_cells(arm, scope) for arm in arms]
    against = next(one for one in cells if one.arm.name == reference)
    for unit in dict.fromkeys(units):
        inside = np.array([one == unit for one in units])
        pool = [one.values[:, inside] for one in cells if one.arm.trainings]
        yield UnitReport(
            scope=scope.name,
            kind=kind,
            unit=unit,
            num_tasks=int(inside.sum()),
            arms=tuple(
                _measure(one, against, inside, pool, f"[{kind}={unit}]", confidence)
                for one in cells
            ),
        )


def _measure(
    own: _Cells,
    against: _Cells,
    inside: NDArray[np.bool_],
    pool: Sequence[Floats],
    where: str,
    confidence: float,
) -> UnitArm:
    sources = tuple(f"{file}#outcome.status{where}" for file in own.files)
    a, b = own.values[:, inside], against.values[:, inside]
    rate = success_rate(a, confidence=confidence).rate
    measured = UnitArm(
        arm=own.arm.name,
        success_rate=SourcedEstimate(**rate.model_dump(), method=RATE, sources=sources),
        difference=None,
        improvement=None,
    )
    if own is against:
        return measured
    both = (*sources, *(f"{file}#outcome.status{where}" for file in against.files))
    pairs = ((own.arm, a), (against.arm, b))
    difference, method = difference_interval(pairs, pool, confidence)
    known = {"difference": SourcedEstimate(**difference.model_dump(), method=method, sources=both)}
    if max(len(own.arm.trainings), len(against.arm.trainings)) >= MIN_TRAININGS:
        share = probability_of_improvement(a, b, confidence=confidence)
        improvement = SourcedEstimate(**share.model_dump(), method=IMPROVEMENT, sources=both)
        known["improvement"] = improvement
    return measured.model_copy(update=known)


def _cells(arm: Arm, scope: Scope) -> _Cells:
    files = (
        f"{repetition.folder.name}/episodes.jsonl"
        for run in arm.runs
        for split in scope.splits
        for repetition in run.evaluations[split].repetitions
    )
    return _Cells(arm, scope_values(arm, scope, "success"), tuple(files))


def _units(arm: Arm, scope: Scope, average: Average) -> list[str]:
    """The unit of each task of a scope, in the order of the values."""
    evaluations = [arm.runs[0].evaluations[split] for split in scope.splits]
    labels = (label for one in evaluations for label in task_labels(one, average))
    # The only environment of a scope is not repeated before each of its groups.
    known = f"{next(iter(scope.environments))} " if len(scope.environments) == 1 else ""
    return [label.removeprefix(known) for label in labels]
