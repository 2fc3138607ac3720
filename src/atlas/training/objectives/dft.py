"""Dynamic Fine-Tuning (arXiv 2508.05629): each token counts as much as it is probable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.kinds import NoConfig
from atlas.training.objectives.base import ObjectiveBase, PredictedTokens

if TYPE_CHECKING:
    from torch import Tensor


class DftObjective(ObjectiveBase[NoConfig]):
    """The probability of the token under the model: unlikely tokens count less."""

    def factors(self, tokens: PredictedTokens) -> Tensor:
        return tokens.log_probs.exp()
