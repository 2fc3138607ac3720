"""Token weights: one weight per supervised token expresses every normalizer and step weight.

    loss = Σ w · (−log π) / Σ |w|   over the supervised tokens of an optimizer step

    normalizer     w of a token of step s in trajectory τ    the loss is then
    tokens         u(s)                                      the weighted mean over tokens
    steps          u(s) / tokens of s                        the weighted mean over steps of their
                                                             token means
    trajectories   u(s) / Σ of |u| over the tokens of τ      the mean over trajectories of their
                                                             weighted token means

u(s) is the weight of the step, 1 by default; below 0, training makes the step less likely
(objectives/guard.py bounds that). Both sums run over the whole optimizer step, so the
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
from atlas.training.config import LOWEST_WEIGHT, LossNormalizer, TrainConfig


def weights_of_steps(
    trajectory: Trajectory, selection: Selection, config: TrainConfig
) -> dict[int, float]:
    """The weight u(s) of each selected step.

    Raises:
        DataError: a step has no weight, or one that is not a finite number, or is not allowed.
    """
    step_weights, lowest = config.step_weights, config.lowest_weight
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
        is_allowed = weight is not None and (weight > 0 or (lowest <= weight and lowest < 0))
        if weight is None or not math.isfinite(weight) or not is_allowed:
            found = "no score" if weight is None else f"the score {weight}"
            advice = ""
            if weight is not None and LOWEST_WEIGHT <= weight <= 0:
                given = f"{min(weight, -0.1):g}"
                advice = f"set lowest_weight={given} to train away from steps below 0, "
            raise DataError(
                f"trajectory {trajectory.id}, step {index} has {found} {where}, where "
                f"step_weights={step_weights} expects a finite number "
                f"{f'from lowest_weight={lowest:g}' if lowest < 0 else 'above 0'}. Select with a "
                "selector that gives such scores, remove from the selection what should not count, "
                f"{advice}or set step_weights=none."
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
    elif normalizer == "trajectories" and of_token.any():
        # Divided by the largest first, because a sum of very large numbers would overflow.
        of_token = of_token / np.abs(of_token).max()
        of_token = of_token / np.abs(of_token).sum()
    return np.split(of_token, np.cumsum([len(owner) for owner in owners])[:-1])
