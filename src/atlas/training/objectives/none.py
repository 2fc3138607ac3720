"""Every supervised token counts the same: plain cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.kinds import NoConfig
from atlas.training.objectives.base import ObjectiveBase, PredictedTokens

if TYPE_CHECKING:
    from torch import Tensor


class NoObjective(ObjectiveBase[NoConfig]):
    """The same for every token: plain cross-entropy."""

    def factors(self, tokens: PredictedTokens) -> Tensor:
        return tokens.log_probs.new_ones(tokens.log_probs.shape)
