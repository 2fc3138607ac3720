"""The budget: how many steps of a trajectory may be selected, at most the share m (ATLaS §3).

For steps with scores, the share can apply to the whole dataset. Then a trajectory's budget is the
number of its steps among the best steps of all trajectories.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from typing import Literal

import numpy as np

Rounding = Literal["floor", "ceil", "nearest"]


@cache
def step_budget(
    num_steps: int, ratio: float, rounding: Rounding = "floor", min_steps: int = 1
) -> int:
    """The budget max(min_steps, rounded ratio * num_steps), but at most num_steps.

    The product is computed in exact decimals: 0.29 of 100 steps is 29, although 0.29 * 100 is a bit
    less in floats. With "nearest", a half is rounded up.

    >>> [step_budget(n, 0.3) for n in (0, 1, 3, 7, 10)]
    [0, 1, 1, 2, 3]
    """
    share = Fraction(str(ratio)) * num_steps
    rounded = {
        "floor": math.floor(share),
        "ceil": math.ceil(share),
        "nearest": math.floor(share + Fraction(1, 2)),
    }[rounding]
    return min(num_steps, max(min_steps, rounded))


def dataset_budgets(
    scores: Iterable[tuple[str, Sequence[float | None]]], ratio: float, rounding: Rounding = "floor"
) -> dict[str, int]:
    """How many steps of each trajectory (by id) are among the best `ratio` of all steps.

    Steps with the score None are ignored. Of equal scores the earlier step comes first; between
    trajectories a hash of the id decides, so that their order has no effect.

    >>> dataset_budgets([("a", [1.0, 5.0, 4.0]), ("b", [2.0, None, 3.0])], 0.5)
    {'a': 2, 'b': 1}
    """
    ids: list[str] = []
    num_steps = 0
    # Of each step with a score: the score, its index, the position of its trajectory.
    values, steps, owners = array("d"), array("q"), array("q")
    for owner, (id_, of_steps) in enumerate(scores):
        ids.append(id_)
        num_steps += len(of_steps)
        for step, score in enumerate(of_steps):
            if score is not None:
                values.append(score)
                steps.append(step)
                owners.append(owner)
    hashes = [hashlib.sha256(id_.encode()).digest() for id_ in ids]
    lots = np.empty(len(ids), dtype=np.int64)
    lots[sorted(range(len(ids)), key=hashes.__getitem__)] = np.arange(len(ids))
    owner_of = np.asarray(owners, dtype=np.int64)
    order = np.lexsort((lots[owner_of], np.asarray(steps), -np.asarray(values)))
    best = order[: step_budget(num_steps, ratio, rounding, min_steps=0)]
    return dict(zip(ids, np.bincount(owner_of[best], minlength=len(ids)).tolist(), strict=True))


def best_indices(scores: Sequence[float | None], budget: int) -> list[int]:
    """The steps with the `budget` highest scores; of equals the earlier; None is never taken."""
    ranked = sorted((-score, index) for index, score in enumerate(scores) if score is not None)
    return [index for _, index in ranked[:budget]]
