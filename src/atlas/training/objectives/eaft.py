"""Entropy-Adaptive Fine-Tuning (arXiv 2601.02151): a token counts as much as the model is unsure.

A token that is improbable where the model is sure of another one ("confident conflict") gets almost
no gradient, and one that is improbable where the model is unsure keeps its own.

Taken from the paper's abstract and README (PRIS-CV/EAFT) and from the authors' function in
LLaMA-Factory (`use_eaft_loss`): the entropy of the 20 most probable tokens, whose probabilities are
scaled to a sum of 1, over its maximum, to the power alpha. The full text was not at hand.

What differs: the maximum is ln k, which is 2.996 for k = 20, where LLaMA-Factory divides by 3 (so
its factors are 0.9986 of these at alpha = 1). axolotl (`use_eaft`) does not divide by default.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from atlas.config import Config
from atlas.training.objectives.base import ObjectiveBase, PredictedTokens

if TYPE_CHECKING:
    from torch import Tensor


class EaftConfig(Config):
    """Settings of `eaft`."""

    alpha: float = Field(
        default=1.0,
        gt=0,
        description="power of the entropy: a higher one silences more of what the model is sure of",
    )
    top_tokens: int = Field(
        default=20, ge=2, description="the most probable tokens of which the entropy is computed"
    )


class EaftObjective(ObjectiveBase[EaftConfig]):
    """The entropy of the prediction: tokens where the model is sure count less."""

    Config = EaftConfig

    def factors(self, tokens: PredictedTokens) -> Tensor:
        count = min(self.config.top_tokens, tokens.logits.shape[-1])
        if count < 2:
            # There is nothing to be unsure of, and the maximum would be 0.
            return tokens.log_probs.exp() * 0.0
        top = tokens.logits.topk(count, dim=-1).values.log_softmax(-1)
        share = entropy(top) / math.log(count)
        # Rounding may exceed the maximum.
        return share.clamp(0.0, 1.0) ** self.config.alpha


def entropy(log_distribution: Tensor) -> Tensor:
    """The entropy in nats of each row, shape [N]. An impossible token adds nothing."""
    import torch

    terms: Tensor = torch.special.entr(log_distribution.exp())
    return terms.sum(-1)
