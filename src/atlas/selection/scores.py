"""Turns scores into selections. The scores are saved, and the selection is computed from them.

    OUT/scores.jsonl one line per trajectory: a score for every step, selected or not

The scope changes only how many of a trajectory's best steps are selected.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterator
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from atlas.records import SCHEMA_VERSION, CriticalStep, Problem, Record, Selection, Trajectory
from atlas.selection.budget import best_indices, dataset_budgets
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Scorer
from atlas.store.record_files import read_records

SCORES_FILE = "scores.jsonl"


class StepScores(Record):
    """The score of each step of one trajectory, or the problem if there are none."""

    version: Literal[1] = SCHEMA_VERSION
    trajectory_id: str
    num_steps: int
    scores: tuple[float | None, ...] = ()
    problem: str | None = None


async def score_steps(scorer: Scorer, trajectory: Trajectory) -> StepScores:
    """The scores of one trajectory.

    A wrong number of scores, or a NaN, is also recorded as a problem.
    """
    result = scorer.score(trajectory)
    scores = await result if inspect.isawaitable(result) else result
    num_steps = len(trajectory.steps)
    problem = scores.reason if isinstance(scores, Problem) else _fault(scores, num_steps)
    given = () if isinstance(scores, Problem) or problem is not None else tuple(scores)
    return StepScores(
        trajectory_id=trajectory.id, num_steps=num_steps, scores=given, problem=problem
    )


def select_best(scores: StepScores, selector: str, budget: int) -> Selection:
    """Select the `budget` steps with the highest scores; of equals the earlier."""
    chosen = sorted(best_indices(scores.scores, budget))
    steps = [CriticalStep(index=index, score=scores.scores[index]) for index in chosen]
    return Selection(
        trajectory_id=scores.trajectory_id,
        selector=selector,
        num_steps=scores.num_steps,
        budget=budget,
        critical_steps=tuple(steps),
        problem=scores.problem,
    )


def select_by_scores(path: Path, config: SelectConfig) -> Iterator[Selection]:
    """Make the selections from a file of StepScores, in its order.

    Under scope "dataset" the ratio applies to all steps of all trajectories with scores. The budget
    of a trajectory is then the number of its selected steps.
    """
    budgets: dict[str, int] = {}
    if config.scope == "dataset":
        read = read_records(path, StepScores)
        scored = ((one.trajectory_id, one.scores) for one in read if one.problem is None)
        budgets = dataset_budgets(scored, config.ratio, config.rounding)
    for scores in read_records(path, StepScores):
        own = config.budget(scores.num_steps) if config.scope == "trajectory" else 0
        budget = budgets.get(scores.trajectory_id, own)
        yield select_best(scores, config.selector.name, budget)


def _fault(scores: Any, num_steps: int) -> str | None:
    """Why what a selector returned, which may be anything, is not one score for each step."""
    if isinstance(scores, str) or not isinstance(scores, Collection):
        return f"score returned {scores!r:.80}, expected a list of numbers"
    if len(scores) != num_steps:
        return f"{len(scores)} scores for {num_steps} steps"
    for index, score in enumerate(scores):
        if score is not None and not (isinstance(score, Real) and math.isfinite(score)):
            return f"step {index} has the score {score!r:.80}, expected a finite number or None"
    return None
