"""Dynamic Fine-Tuning (arXiv 2508.05629): each token counts as much as it is probable.

Taken from the paper and from `verl/trainer/fsdp_dft_trainer.py` of yongliang-wu/DFT: cross-entropy
times the token's own probability, which carries no gradient. TRL (`loss_type=dft`), LLaMA-Factory
(`use_dft_loss`) and ms-swift (`enable_dft_loss`) compute the same. Nothing differs here, apart from
the weights w of steps, which those trainers do not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.kinds import NoConfig
from atlas.training.objectives.base import ObjectiveBase, PredictedTokens

if TYPE_CHECKING:
    from torch import Tensor


class DftObjective(ObjectiveBase[NoConfig]):
    """The probability of the token under the model: improbable tokens count less."""

    def factors(self, tokens: PredictedTokens) -> Tensor:
        return tokens.log_probs.exp()
