"""The steps at which a model is the least certain what to say (CARL, arXiv 2512.04949; forking tokens, arXiv 2506.01939).

The score is the mean, over a step's own tokens, of the entropy of the model's next-token distribution: it depends on what the
model might have said there, where perplexity depends on what was said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.selection.selectors.base import Scores
from atlas.selection.selectors.likelihood import LikelihoodSelector

if TYPE_CHECKING:
    from atlas.models.local.step_tokens import StepTokens


class EntropySelector(LikelihoodSelector):
    """Scores steps by the mean entropy of `model` over their tokens, highest first; of an endpoint, by a lower bound of it."""

    reads_entropies = True

    def rate(self, *read: list[StepTokens]) -> Scores:
        [own] = read
        return [tokens.mean_entropy for tokens in own]
