"""Base skills of each arm: accuracy on standard tasks, and the difference from the untuned model.

The scores come from runs of `atlas evaluate --skills`. All models must have answered the same
items, so a difference is paired by item, with the formulas of the other differences of the report.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from atlas.errors import RunError
from atlas.reporting.arms import Arm, RunFolder, SkillScores
from atlas.reporting.difference_interval import difference_interval
from atlas.reporting.report import SkillResult, SourcedEstimate
from atlas.statistics.bootstrap import Floats
from atlas.statistics.estimate import Estimate
from atlas.statistics.rates import success_rate
from atlas.store.record_files import read_records

ITEMS_FILE = "items.jsonl"
ACCURACY = "Wilson score interval over items, with the noise of training where an arm has several"


class _Item(BaseModel):
    """The columns of items.jsonl that a report reads."""

    task: str
    item: int
    score: float


def read_skills(folder: RunFolder) -> SkillScores:
    """The scores in a run folder of `atlas evaluate --skills`."""
    scores: dict[str, dict[int, float]] = {}
    for row in read_records(folder.path / ITEMS_FILE, _Item):
        scores.setdefault(row.task, {})[row.item] = row.score
    return SkillScores(folder, scores)


def check_skills(arms: Sequence[Arm]) -> None:
    """Raise RunError if an arm has skills of some of its runs, or models answered other items."""
    first: SkillScores | None = None
    for arm in arms:
        found = [run.skills for run in arm.runs]
        known = [skills for skills in found if skills is not None]
        if known and len(known) < len(found):
            raise RunError(
                f"arm '{arm.name}' has base skills of {len(known)} of its {len(found)} runs, "
                "expected all or none. Run atlas evaluate --skills for the others, or leave "
                "'skills' out of this arm."
            )
        for skills in known:
            first = first or skills
            _check_items(arm.name, skills, first)


def measure_skills(arm: Arm, base: Arm | None, confidence: float) -> tuple[SkillResult, ...]:
    """The accuracy of an arm on each task, and its difference from the arm `base`."""
    if any(run.skills is None for run in arm.runs):
        return ()
    found = []
    for task in _scores(arm)[0].scores:
        values = _values(arm, task)
        accuracy = success_rate(values, confidence=confidence).rate
        is_compared = base is not None and base is not arm and base.runs[0].skills is not None
        difference = _difference(arm, base, task, confidence) if base and is_compared else None
        found.append(
            SkillResult(
                task=task,
                num_items=values.shape[1],
                accuracy=_sourced(accuracy, ACCURACY, task, arm),
                difference=difference,
            )
        )
    return tuple(found)


def _difference(arm: Arm, base: Arm, task: str, confidence: float) -> SourcedEstimate:
    after, before = _values(arm, task), _values(base, task)
    pool = [values for one, values in ((arm, after), (base, before)) if one.trainings]
    found, method = difference_interval(((arm, after), (base, before)), pool, confidence)
    return _sourced(found, method, task, arm, base)


def _check_items(arm: str, skills: SkillScores, first: SkillScores) -> None:
    where = f"arm '{arm}': {skills.folder.path}"
    if skills.scores.keys() != first.scores.keys():
        raise RunError(
            f"{where} has the tasks {', '.join(skills.scores)}, {first.folder.path} has "
            f"{', '.join(first.scores)}: expected the same. Ask all models with the same tasks."
        )
    for task, scores in skills.scores.items():
        if scores.keys() != first.scores[task].keys():
            raise RunError(
                f"{where} has {len(scores)} items of task '{task}', {first.folder.path} has "
                f"{len(first.scores[task])}, and they are not the same: expected the same items. "
                "Ask all models with the same tasks and limit."
            )


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
