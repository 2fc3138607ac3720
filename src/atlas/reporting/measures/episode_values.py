"""Episodes -> the numbers of each task that are averaged: success, score, steps, tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from atlas.reporting.arms import Evaluation
from atlas.statistics.bootstrap import Floats, mean_per_task
from atlas.statistics.trajectory_summary import TrajectoryFacts

FIELDS: dict[str, Callable[[TrajectoryFacts], float]] = {
    "success": lambda episode: float(episode.status == "success"),
    "score": lambda episode: math.nan if episode.score is None else episode.score,
    "num_steps": lambda episode: (
        math.nan if episode.num_steps is None else float(episode.num_steps)
    ),
    "input_tokens": lambda episode: episode.usage.input_tokens if episode.usage else math.nan,
    "output_tokens": lambda episode: episode.usage.output_tokens if episode.usage else math.nan,
}


def repeated_values(
    played: Sequence[Sequence[TrajectoryFacts]], field: str, broken: float = math.nan
) -> Floats:
    """Values of one of `FIELDS` [E, T] for T tasks with E repetitions each.

    Args:
        broken: the value of an invalid episode.
    """
    read = FIELDS[field]
    rows = [
        [read(episode) if episode.is_valid else broken for episode in episodes]
        for episodes in played
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1).T


def mean_values(evaluation: Evaluation, field: str, broken: float = math.nan) -> Floats:
    """The mean of each task over its repetitions [T]; NaN without a valid episode."""
    return mean_per_task(repeated_values(list(evaluation.played()), field, broken))
