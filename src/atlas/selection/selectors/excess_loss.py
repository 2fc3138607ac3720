"""The steps that a model has yet to learn and a better one knows: loss(model) - loss(reference), after Rho-1 (arXiv 2404.07965).

What is hard for both (noise) and easy for both scores low. Rho-1 chooses tokens; here the mean over a step's tokens chooses steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.selection.selectors.base import Scores
from atlas.selection.selectors.likelihood import LikelihoodSelector

if TYPE_CHECKING:
    from atlas.models.local.step_tokens import StepTokens


class ExcessLossSelector(LikelihoodSelector):
    """Scores steps by how much higher their mean loss is under `model` than under `reference_model`."""

    def rate(self, *read: list[StepTokens]) -> Scores:
        losses = (
            (own.mean_loss, reference.mean_loss) for own, reference in zip(*read, strict=True)
        )
        return [
            None if own is None or reference is None else own - reference
            for own, reference in losses
        ]
