"""What each supervised token counts: one weight per token expresses every normaliser and every weight of a step.

    loss = Σ w · (−log π) / Σ w   over the supervised tokens of an optimiser step

    normaliser     w of a token of step s in trajectory τ    the loss is then
    tokens         u(s)                                      the weighted mean over tokens
    steps          u(s) / tokens of s                        the weighted mean over steps of their token means
    trajectories   u(s) / Σ of u over the tokens of τ        the mean over trajectories of their weighted token means

u(s) is the weight of the step, 1 without any. Both sums run over the whole optimiser step, so no cut into forward passes,
packing or ranks changes the loss. Where a template makes several examples of one trajectory, they share its weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError
from atlas.records import Selection, Trajectory
from atlas.training.config import LossNormalizer, StepWeights


def weights_of_steps(
    trajectory: Trajectory, selection: Selection, step_weights: StepWeights
) -> dict[int, float]:
    """u(s) of each selected step.

    Raises:
        DataError: a step without a weight, or with one that is no finite number above 0.
    """
    if step_weights == "none":
        return dict.fromkeys(selection.indices, 1.0)
    weights: dict[int, float] = {}
    for step in selection.critical_steps:
        annotation = trajectory.steps[step.index].annotation
        weight = (
            step.score
            if step_weights == "score"
            else annotation.score
            if annotation is not None
            else None
        )
        if weight is None or not math.isfinite(weight) or weight <= 0:
            where = (
                f"in the selection by '{selection.selector}'"
                if step_weights == "score"
                else "in the annotation of its source"
            )
            found = "no score" if weight is None else f"the score {weight}"
            raise DataError(
                f"trajectory {trajectory.id}, step {step.index} has {found} {where}, where step_weights={step_weights} expects a finite "
                "number above 0. Select with a selector that gives such scores, leave out of the selection what should not count, or set "
                "step_weights=none."
            )
        weights[step.index] = weight
    return weights


def weights_of_tokens(
    owners: Sequence[NDArray[np.int32]], weights: Mapping[int, float], normalizer: LossNormalizer
) -> list[NDArray[np.float64]]:
    """w of each supervised token of one trajectory.

    Args:
        owners: for each of its examples the step that owns each supervised token, shape [N].
        weights: u(s) of each step.
    """
    steps, places = np.unique(np.concatenate(owners), return_inverse=True)
    of_step = np.array([weights[step] for step in steps.tolist()])
    of_token = of_step[places]
    if normalizer == "steps":
        of_token = of_token / np.bincount(places)[places]
    elif normalizer == "trajectories":
        of_token = of_token / of_token.max()  # a sum of the largest numbers would be none
        of_token = of_token / of_token.sum()
    return np.split(of_token, np.cumsum([len(owner) for owner in owners])[:-1])
