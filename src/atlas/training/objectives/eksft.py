"""Entropy-KL Selective Fine-Tuning (arXiv 2605.29303): no loss where entropy or KL is high.

Taken from the paper's abstract and from `train/eksft/trainer.py` of MINE-USTC/EKSFT: entropy of the
model and KL(model ‖ base) per token, both without gradient, and no loss on tokens where either is
high (`mask=both`: where both are). The abstract reports mathematical benchmarks only, no agents.

What differs: the source masks the 20 % of each batch with the highest entropy and the 20 % with the
highest KL. Then the mask of a token depends on its neighbors, on how the batch is cut, and on the
number of GPUs. Here each has a fixed limit in nats. The source also rewards entropy on the tokens
masked for it and penalizes the KL on those masked for it (both with a weight of 0.05 in its
script); a masked token has no gradient here. The default limit of the entropy is not from the
source: it masks about as many tokens of SmolLM2 on BabyAI (see docs/objectives.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from atlas.config import Config
from atlas.training.objectives.base import Needs, ObjectiveBase, PredictedTokens
from atlas.training.objectives.eaft import entropy

if TYPE_CHECKING:
    from torch import Tensor


class EksftConfig(Config):
    """Settings of `eksft`."""

    max_entropy: float = Field(
        default=2.0,
        ge=0,
        description="tokens with a higher entropy of the model, in nats, are masked",
    )
    max_kl: float = Field(
        default=0.1, ge=0, description="tokens with a higher KL(model ‖ base), in nats, are masked"
    )
    mask: Literal["either", "both"] = Field(
        default="either", description="mask a token if either is too high, or only if both are"
    )


class EksftObjective(ObjectiveBase[EksftConfig]):
    """0 where the entropy of the model or its KL to the base model is high, else 1."""

    Config = EksftConfig
    needs: Needs = "base_distribution"

    def factors(self, tokens: PredictedTokens) -> Tensor:
        of_model = tokens.log_distribution
        unsure = entropy(of_model) > self.config.max_entropy
        moved = divergence(of_model, tokens.base_log_distribution) > self.config.max_kl
        masked = unsure | moved if self.config.mask == "either" else unsure & moved
        return (~masked).to(of_model.dtype)


def divergence(log_distribution: Tensor, base: Tensor) -> Tensor:
    """KL(model ‖ base) in nats of each row, shape [N]; ∞ where the base excludes a token."""
    probabilities = log_distribution.exp()
    terms = probabilities * (log_distribution - base)
    # What the model excludes adds nothing, even if the base excludes it too.
    return terms.masked_fill(probabilities == 0, 0.0).sum(-1)
