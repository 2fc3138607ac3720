"""The steps that a model finds the most (or the least) surprising: the paper's "highest-perplexity 30 %" control.

The score is the mean negative log-likelihood of a step's own tokens under the model, the whole history before them.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from atlas.selection.config import Band
from atlas.selection.selectors.base import Scores
from atlas.selection.selectors.likelihood import LikelihoodSelector

if TYPE_CHECKING:
    from atlas.models.local.step_tokens import StepTokens


class PerplexitySelector(LikelihoodSelector):
    """Scores steps by their perplexity under `model`, in the order that `band` says."""

    def rate(self, *read: list[StepTokens]) -> Scores:
        [own] = read
        return rank_in_band([tokens.mean_loss for tokens in own], self.config.band)


def rank_in_band(losses: Scores, band: Band) -> list[float | None]:
    """Losses as scores: themselves, their opposite, or the opposite of their distance from the median of the trajectory.

    >>> rank_in_band([1.0, None, 4.0, 9.0], "mid")
    [-3.0, None, 0.0, -5.0]
    """
    middle = median([loss for loss in losses if loss is not None] or [0.0])

    def rank(loss: float) -> float:
        return {"high": loss, "low": -loss, "mid": -abs(loss - middle)}[band]

    return [None if loss is None else rank(loss) for loss in losses]
