"""A trust region for each token around the base model, as in PPO.

With the ratio r = π(token) / π_base(token), PPO maximizes w · r up to 1 + high for w > 0, and down
to 1 − low for w < 0. The gradient of r is r · ∇ log π, so the factor is r inside the region and 0
where w would push the token further out. A token back inside counts again.

A token whose base probability is above 1 / (1 + high) cannot leave the region upwards; a rare one
leaves it after a small step. So rare tokens soon count no more.

Taken from PSFT (arXiv 2508.17784) and its code (zwhong714/PSFT, verl/recipe/psft): PPO's clipped
objective with an advantage of 1; 0.2 and 0.28 are the limits of its script, and 10 its limit for
negative weights (dual clip, arXiv 1912.09729). "Clipping Low-Probability Tokens in SFT" (ICML 2026,
poster 61171) studies clipping per token on agent benchmarks, which the abstract of its ICLR 2026
submission names: ALFWorld and ScienceWorld. Only these abstracts were at hand.

What differs: PSFT takes the ratio to the policy before the current batch of 64, which it visits in
8 updates, so its region moves with the training. Here the region stays around the base model. For
one that moves, train in several runs, each from the checkpoint before. The logged loss is
Σ w · r · (−log π), whose gradient is that of the method, not −Σ w · r.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from atlas.config import Config
from atlas.training.objectives.base import Needs, ObjectiveBase, PredictedTokens

if TYPE_CHECKING:
    from torch import Tensor

# The largest ratio at which a token with a negative weight still counts.
DUAL_CLIP = 10.0


class ClipConfig(Config):
    """Settings of `clip`."""

    high: float = Field(
        default=0.28,
        gt=0,
        description="a token counts no more once its probability is above 1 + high times that "
        "under the base model",
    )
    low: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="a token with a negative weight counts no more once its probability is below "
        "1 - low times that under the base model",
    )


class ClipObjective(ObjectiveBase[ClipConfig]):
    """PPO's trust region around the base model: tokens that have moved far no longer count."""

    Config = ClipConfig
    needs: Needs = "base_probabilities"

    def factors(self, tokens: PredictedTokens) -> Tensor:
        assert tokens.base_log_probs is not None, "the objective needs base_probabilities"
        ratio = (tokens.log_probs - tokens.base_log_probs).exp()
        raised = ratio > 1 + self.config.high
        lowered = (ratio < 1 - self.config.low) | (ratio > DUAL_CLIP)
        outside = raised.where(tokens.weights >= 0, lowered)
        # Impossible under both models: the ratio is not a number, and there is nothing to raise.
        impossible = tokens.log_probs == float("-inf")
        return ratio.masked_fill(outside | impossible, 0.0)
