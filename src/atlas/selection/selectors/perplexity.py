"""Selects steps by perplexity: the paper's "highest-perplexity 30 %" control.

The score is the mean negative log-likelihood of a step's own tokens under the model, given the
whole history.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from atlas.selection.likelihood import LikelihoodConfig, LikelihoodSelector
from atlas.selection.selectors.base import Scores

if TYPE_CHECKING:
    from atlas.models.local.step_tokens import StepTokens

Band = Literal["high", "low", "mid"]
WORDS: dict[Band, str] = {
    "high": "most surprising",
    "low": "least surprising",
    "mid": "neither most nor least surprising",
}


class PerplexityConfig(LikelihoodConfig):
    """Settings of `perplexity`: the model, and which part of its ranking is taken."""

    band: Band = Field(
        default="high",
        description="which steps are taken: high or low perplexity, or mid (closest to the "
        "trajectory's median)",
    )


class PerplexitySelector(LikelihoodSelector[PerplexityConfig]):
    """The steps with the highest perplexity under a model; by setting, the lowest or the middle."""

    Config = PerplexityConfig

    @property
    def sentence(self) -> str:
        return f"the steps that {self.config.model} finds {WORDS[self.config.band]}"

    def rate(self, *read: list[StepTokens]) -> Scores:
        [own] = read
        return rank_in_band([tokens.mean_loss for tokens in own], self.config.band)


def rank_in_band(losses: Scores, band: Band) -> list[float | None]:
    """Turn losses into scores: unchanged, negated, or the negated distance from the median.

    >>> rank_in_band([1.0, None, 4.0, 9.0], "mid")
    [-3.0, None, -0.0, -5.0]
    """
    middle = median([loss for loss in losses if loss is not None] or [0.0])

    def rank(loss: float) -> float:
        return {"high": loss, "low": -loss, "mid": -abs(loss - middle)}[band]

    return [None if loss is None else rank(loss) for loss in losses]
