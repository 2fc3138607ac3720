"""Scores to selections: the scores are kept, and the choice is a pure function of them.

    OUT/scores.jsonl   one a trajectory: a score for every step, chosen or not

Within one trajectory the best steps are the same under either scope; the scope decides how many
they are.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from atlas.records import SCHEMA_VERSION, CriticalStep, Problem, Record, Selection, Trajectory
from atlas.selection.budget import dataset_budgets
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Scorer, Scores
from atlas.store.record_files import read_records

SCORES_FILE = "scores.jsonl"


class StepScores(Record):
    """The score of each step of one trajectory, or the problem that left it without any.

    The highest is chosen first, None is never chosen.
    """

    version: Literal[1] = SCHEMA_VERSION
    trajectory_id: str
    num_steps: int
    scores: tuple[float | None, ...] = ()
    problem: str | None = None


async def score_steps(scorer: Scorer, trajectory: Trajectory) -> StepScores:
    """The scores of one trajectory.

    A number of scores that is not that of the steps, or a NaN, is a problem too.
    """
    result = scorer.score(trajectory)
    scores = await result if inspect.isawaitable(result) else result
    problem = scores.reason if isinstance(scores, Problem) else _fault(scores, trajectory)
    given = () if isinstance(scores, Problem) or problem is not None else tuple(scores)
    return StepScores(
        trajectory_id=trajectory.id, num_steps=len(trajectory.steps), scores=given, problem=problem
    )


def select_best(scores: StepScores, selector: str, budget: int) -> Selection:
    """The `budget` steps with the highest scores, the earlier of equals."""
    ranked = sorted(
        (-score, index) for index, score in enumerate(scores.scores) if score is not None
    )
    chosen = sorted((index, -score) for score, index in ranked[:budget])
    return Selection(
        trajectory_id=scores.trajectory_id,
        selector=selector,
        num_steps=scores.num_steps,
        budget=budget,
        critical_steps=tuple(CriticalStep(index=index, score=score) for index, score in chosen),
        problem=scores.problem,
    )


def select_by_scores(path: Path, config: SelectConfig) -> Iterator[Selection]:
    """The selections that follow from a file of StepScores, in its order.

    Under scope "dataset" the ratio is of all steps of the trajectories that have scores, and a
    trajectory's budget is what it got.
    """
    budgets = (
        dataset_budgets(_with_scores(path), config.ratio, config.rounding)
        if config.scope == "dataset"
        else None
    )
    for scores in read_records(path, StepScores):
        if budgets is None:
            budget = config.budget(scores.num_steps)
        else:
            budget = budgets.get(scores.trajectory_id, 0)
        yield select_best(scores, config.selector.name, budget)


def _with_scores(path: Path) -> Iterable[tuple[str, Scores]]:
    return (
        (scores.trajectory_id, scores.scores)
        for scores in read_records(path, StepScores)
        if scores.problem is None
    )


def _fault(scores: Scores, trajectory: Trajectory) -> str | None:
    if len(scores) != len(trajectory.steps):
        return f"{len(scores)} scores for {len(trajectory.steps)} steps"
    for index, score in enumerate(scores):
        if score is not None and not math.isfinite(score):
            return f"step {index} has the score {score}, expected a finite number or None"
    return None
