"""Selects the steps where a model is least certain (arXiv 2512.04949, 2506.01939).

The score is the mean entropy of the model's next-token distribution over the tokens of a step. It
depends on what the model might have said, while perplexity depends on what was said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from atlas.selection.likelihood import LikelihoodConfig, LikelihoodSelector
from atlas.selection.selectors.base import Scores

if TYPE_CHECKING:
    from atlas.models.local.step_tokens import StepTokens


class EntropyConfig(LikelihoodConfig):
    """Settings of `entropy`: the model whose uncertainty is measured."""

    num_likeliest: int = Field(
        default=20,
        ge=1,
        description="how many of the most likely tokens a server reports per position; all "
        "other tokens are counted as one, and servers limit this number",
    )


class EntropySelector(LikelihoodSelector[EntropyConfig]):
    """The steps where a model is least certain: those with the highest mean token entropy.

    An endpoint reports only the most likely tokens, which gives a lower bound of the entropy.
    """

    Config = EntropyConfig

    def num_likeliest(self) -> int:
        return self.config.num_likeliest

    @property
    def sentence(self) -> str:
        return f"the steps where {self.config.model} is least certain what to say"

    def rate(self, *read: list[StepTokens]) -> Scores:
        [own] = read
        return [tokens.mean_entropy for tokens in own]
