"""Base skills of each arm: accuracy on standard tasks, and the difference from the untuned model.

All models answered the same items, so a difference is paired by item, with the formulas of the
other differences of the report. It gets no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlas.reporting.arms import Arm, SkillScores, is_method
from atlas.reporting.claims.compare_arms import OVER_CHECKPOINTS, OVER_METHODS
from atlas.reporting.claims.compare_values import ArmValues, ComparisonSettings, compare_values
from atlas.reporting.identities import shared_trainings
from atlas.reporting.measures.read_skills import ITEMS_FILE
from atlas.reporting.report import SkillResult, SourcedEstimate
from atlas.statistics.bootstrap import Floats
from atlas.statistics.estimate import Estimate
from atlas.statistics.rates import success_rate

ACCURACY = "Wilson score interval over items, with the noise of training where an arm has several"


def measure_skills(
    arm: Arm, arms: Sequence[Arm], base: str | None, confidence: float
) -> tuple[SkillResult, ...]:
    """The accuracy of an arm on each task, and its difference from the arm `base`."""
    if not _scores(arm):
        return ()
    known = [one for one in arms if _scores(one)]
    before = next((one for one in known if one.name == base and one is not arm), None)
    return tuple(_measure(arm, known, before, task, confidence) for task in _scores(arm)[0].scores)


def _measure(
    arm: Arm, known: Sequence[Arm], before: Arm | None, task: str, confidence: float
) -> SkillResult:
    base, shares = before.name if before else None, shared_trainings(known)
    values = [
        ArmValues(one.name, _values(one, task), is_method(one, base), shares[one.name])
        for one in known
    ]
    own = values[known.index(arm)]
    accuracy = success_rate(own.values, confidence=confidence).rate
    measured = SkillResult(
        task=task,
        num_items=own.values.shape[1],
        accuracy=_sourced(accuracy, ACCURACY, task, arm),
    )
    if before is None:
        return measured
    settings = ComparisonSettings(None, None, None, None, confidence)
    test = compare_values(own, values[known.index(before)], values, settings)
    method = OVER_METHODS if test.claim == "methods" else OVER_CHECKPOINTS
    difference = _sourced(test.difference, method, task, arm, before)
    return measured.model_copy(update={"difference": difference, "claim": test.claim})


def _scores(arm: Arm) -> list[SkillScores]:
    return [run.skills for run in arm.runs if run.skills is not None]


def _values(arm: Arm, task: str) -> Floats:
    """The scores of the arm's runs [R, items], items in ascending order."""
    rows = [[one for _, one in sorted(skills.scores[task].items())] for skills in _scores(arm)]
    return np.array(rows, dtype=np.float64)


def _sourced(estimate: Estimate, method: str, task: str, *arms: Arm) -> SourcedEstimate:
    sources = tuple(
        f"{skills.folder.name}/{ITEMS_FILE}#score[task={task}]"
        for arm in arms
        for skills in _scores(arm)
    )
    return SourcedEstimate(**estimate.model_dump(), method=method, sources=sources)
