"""No loss on tokens with a low probability.

Taken from Selective Token Masking (STM, arXiv 2501.14315; `collate_fn.py` and
`generate_stm_training_data.py` of appier-research/robust-llm-finetunes): the perplexity 1 / p of
each token under the model before training, and no loss where it is above 2.5, so where p < 0.4.
And from ProFit (arXiv 2601.09195; `profit_loss_func` of Utaotao/ProFit): the same with the current
model in each pass, and p < 0.1 in its script (`under=model min_probability=0.1`).

What differs: the sum is divided by all supervised tokens, as in ProFit, and not by those that are
left, as the mean of STM's trainer is. So with many silenced tokens an update is smaller. Papers
were read in their abstracts, the method in the code.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from atlas.config import Config
from atlas.training.objectives.base import Needs, ObjectiveBase, PredictedTokens

if TYPE_CHECKING:
    from torch import Tensor


class MaskLowProbabilityConfig(Config):
    """Settings of `mask_low_probability`."""

    min_probability: float = Field(
        default=0.4, gt=0, lt=1, description="tokens with a lower probability are masked"
    )
    under: Literal["base", "model"] = Field(
        default="base",
        description="base: by the probability before training (STM); model: by the current one "
        "(ProFit)",
    )


class MaskLowProbabilityObjective(ObjectiveBase[MaskLowProbabilityConfig]):
    """0 for tokens with a low probability, else 1."""

    Config = MaskLowProbabilityConfig

    def __init__(self, config: MaskLowProbabilityConfig) -> None:
        super().__init__(config)
        self.needs: Needs = "base_probabilities" if config.under == "base" else "nothing"

    def factors(self, tokens: PredictedTokens) -> Tensor:
        under = tokens.log_probs if self.config.under == "model" else tokens.base_log_probs
        assert under is not None, "the objective needs base_probabilities"
        return (~(under < math.log(self.config.min_probability))).to(tokens.log_probs.dtype)
