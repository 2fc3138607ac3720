"""Token weights: one weight per supervised token expresses every normalizer and step weight.

    loss = Σ w · (−log π) / Σ w   over the supervised tokens of an optimizer step

    normalizer     w of a token of step s in trajectory τ    the loss is then
    tokens         u(s)                                      the weighted mean over tokens
    steps          u(s) / tokens of s                        the weighted mean over steps of their
                                                             token means
    trajectories   u(s) / Σ of u over the tokens of τ        the mean over trajectories of their
                                                             weighted token means

u(s) is the weight of the step, 1 by default. Both sums run over the whole optimizer step, so the
cut into forward passes, packing and ranks change no loss. Several examples of one trajectory share
its weight.
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
    """The weight u(s) of each selected step.

    Raises:
        DataError: a step has no weight, or one that is not a finite number above 0.
    """
    if step_weights == "none":
        return dict.fromkeys(selection.indices, 1.0)
    if step_weights == "score":
        weights = {step.index: step.score for step in selection.critical_steps}
        where = f"in the selection by '{selection.selector}'"
    else:
        notes = {
            step.index: trajectory.steps[step.index].annotation for step in selection.critical_steps
        }
        weights = {index: None if note is None else note.score for index, note in notes.items()}
        where = "in the annotation of its source"
    checked = {}
    for index, weight in weights.items():
        if weight is None or not math.isfinite(weight) or weight <= 0:
            found = "no score" if weight is None else f"the score {weight}"
            raise DataError(
                f"trajectory {trajectory.id}, step {index} has {found} {where}, where "
                f"step_weights={step_weights} expects a finite number above 0. Select with a "
                "selector that gives such scores, remove from the selection what should not count, "
                "or set step_weights=none."
            )
        checked[index] = weight
    return checked


def weights_of_tokens(
    owners: Sequence[NDArray[np.int32]], weights: Mapping[int, float], normalizer: LossNormalizer
) -> list[NDArray[np.float64]]:
    """The weight w of each supervised token of one trajectory.

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
        # Divided by the largest first, because a sum of very large numbers would overflow.
        of_token = of_token / of_token.max()
        of_token = of_token / of_token.sum()
    return np.split(of_token, np.cumsum([len(owner) for owner in owners])[:-1])
