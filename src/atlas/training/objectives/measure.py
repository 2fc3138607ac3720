"""Which tokens of a trajectory an objective silences, before a training has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.models.local.step_tokens import ScoringPrompt
from atlas.rendering.measured_tokens import MeasuredTokens
from atlas.rendering.token_ownership import TokenizedExample
from atlas.training.objectives.base import SILENCED, Objective, PredictedTokens

if TYPE_CHECKING:
    from torch import Tensor

    from atlas.models.local.log_probabilities import LocalScorer

# Positions whose logits over the whole vocabulary are in memory at a time, in float32.
ROWS = 256


class ObjectiveMeter:
    """Measures losses and silenced tokens under a model that is its own base.

    That is the first step of a training of this model, with a weight of 1 for each token.
    """

    def __init__(self, scorer: LocalScorer, objective: Objective) -> None:
        self._scorer = scorer
        self._objective = objective

    def __call__(
        self, example: TokenizedExample, positions: NDArray[np.integer], /
    ) -> MeasuredTokens:
        """The tokens at these positions.

        Raises:
            DataError: the example is too long for the model.
        """
        import torch

        prompt = ScoringPrompt(example, example.token_ids, np.asarray(positions, np.int64))
        losses, silenced = [torch.zeros(0)], [torch.zeros(0, dtype=torch.bool)]
        if len(positions):
            logits, tokens = self._scorer.predict(self._scorer.shortened(prompt))
            for start in range(0, len(tokens), ROWS):
                rows = slice(start, start + ROWS)
                found, is_silenced = self._measure(logits[rows], tokens[rows])
                losses.append(found.cpu())
                silenced.append(is_silenced.cpu())
        return MeasuredTokens(torch.cat(losses).double().numpy(), torch.cat(silenced).numpy())

    def _measure(self, logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        from atlas.training.token_loss import log_probs_at, widen

        with torch.no_grad():
            precise = widen(logits)
            log_probs = log_probs_at(precise, tokens)
            weights = torch.ones_like(log_probs)
            predicted = PredictedTokens(log_probs, precise, weights, log_probs, precise)
            return -log_probs, self._objective.factors(predicted).abs() < SILENCED
