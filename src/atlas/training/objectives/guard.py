"""Bounds the loss of tokens with a negative weight, for any objective.

−log π times a negative weight has no lower bound: each update makes the token less likely, and the
gradient on its logit, |w| · (1 − π), grows as π goes to 0, so nothing stops it. Here a token has no
loss once it is unlikely enough, so its loss is never below w · factor · log(1 / floor), where the
factor is that of the objective: at most 1, or 10 with `clip`.

Two softer forms exist: an importance ratio of at most 1 on negative examples, which keeps their
objective bounded (TOPR, arXiv 2503.14286, read in its abstract and a summary), and −log(1 − π)
(unlikelihood, arXiv 1908.04319, not read here). The floor needs no pass of another model, and
leaves the direction of each gradient to −log π, as every objective here does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from atlas.training.objectives.base import Needs, Objective, PredictedTokens

if TYPE_CHECKING:
    from torch import Tensor


class NegativeGuard:
    """An objective that silences tokens with a negative weight and a probability below a floor.

    Args:
        objective: sets the factor of all other tokens; None: it is 1.
        floor: a probability above 0 and below 1.
    """

    def __init__(self, objective: Objective | None, floor: float) -> None:
        self._objective = objective
        self._lowest = math.log(floor)

    @property
    def needs(self) -> Needs:
        return "nothing" if self._objective is None else self._objective.needs

    def factors(self, tokens: PredictedTokens) -> Tensor:
        is_done = (tokens.weights < 0) & (tokens.log_probs < self._lowest)
        if self._objective is None:
            factors = tokens.log_probs.new_ones(tokens.log_probs.shape)
        else:
            factors = self._objective.factors(tokens)
        return factors.masked_fill(is_done, 0.0)
