"""The loss of supervised tokens from their logits, with an objective, and what it silenced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from atlas.training.objectives.base import SILENCED, Objective, PredictedTokens
from atlas.training.tally_rows import TALLY_ROWS


@dataclass(frozen=True, slots=True)
class Targets:
    """Supervised tokens of a forward pass.

    Attributes:
        tokens: shape [N], as are the others.
        base_log_probs: log π before training, if an objective needs it.
        kinds: the kind of each token's step, an index into TALLY_ROWS; None: not known.
    """

    tokens: Tensor
    weights: Tensor
    base_log_probs: Tensor | None = None
    kinds: Tensor | None = None

    def part(self, rows: slice) -> Targets:
        """The tokens at these rows."""
        return Targets(
            self.tokens[rows],
            self.weights[rows],
            None if self.base_log_probs is None else self.base_log_probs[rows],
            None if self.kinds is None else self.kinds[rows],
        )


class TokenLoss:
    """Σ w · factor · (−log π), in float32 or better. Without an objective the factor is 1.

    Attributes:
        objective: sets the factors.
        tally: for each of TALLY_ROWS the tokens so far, those silenced, and the sum of their
            factors, shape [5, 3]; None before the first token with an objective.
    """

    def __init__(self, objective: Objective | None = None) -> None:
        self.objective = objective
        self.tally: Tensor | None = None
        self._counts = True

    @property
    def needs_base_distribution(self) -> bool:
        return self.objective is not None and self.objective.needs == "base_distribution"

    def __call__(
        self, logits: Tensor, targets: Targets, base_logits: Tensor | None = None
    ) -> Tensor:
        """The sum over N tokens.

        Args:
            logits: shape [N, V], with gradient.
            base_logits: those of the model before training, if the objective needs them.
        """
        precise = widen(logits)
        losses = functional.cross_entropy(precise, targets.tokens, reduction="none")
        weights = targets.weights.to(losses.dtype)
        if self.objective is None:
            return (losses * weights).sum()
        with torch.no_grad():
            base = None if base_logits is None else widen(base_logits)
            of_base = targets.base_log_probs
            if base is not None:
                of_base = log_probs_at(base, targets.tokens)
            of_base = None if of_base is None else of_base.to(losses.dtype)
            predicted = PredictedTokens(-losses, precise.detach(), weights, of_base, base)
            factors = self.objective.factors(predicted).to(losses.dtype)
            self._count(factors, targets.kinds)
        # A silenced token may be impossible, and 0 · ∞ is not a number. A loss that is not a number
        # stays, because it says that the training has diverged.
        weighted = losses.masked_fill((factors == 0) & losses.isinf(), 0.0) * factors * weights
        return weighted.sum()

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Compute without the objective."""
        objective, self.objective = self.objective, None
        try:
            yield
        finally:
            self.objective = objective

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave the tally as it is."""
        self._counts = False
        try:
            yield
        finally:
            self._counts = True

    def _count(self, factors: Tensor, kinds: Tensor | None) -> None:
        if not self._counts:
            return
        rows = len(TALLY_ROWS)
        of_token = torch.full_like(factors, rows - 1, dtype=torch.long) if kinds is None else kinds
        silenced = factors.abs() < SILENCED
        columns = torch.stack((torch.ones_like(factors), silenced.to(factors.dtype), factors), 1)
        added = torch.zeros(rows, 3, dtype=torch.float64, device=factors.device)
        added.index_add_(0, of_token.long(), columns.double())
        self.tally = added if self.tally is None else self.tally.to(added.device) + added


def widen(logits: Tensor) -> Tensor:
    """In float32 or better."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def log_probs_at(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log π of the tokens, shape [N], from logits [N, V]."""
    return -functional.cross_entropy(widen(logits), tokens, reduction="none")


def describe_tally(tally: Tensor) -> dict[str, float]:
    """Shares of silenced tokens, over all and by kind of step, and the mean factor."""
    counts = tally.tolist()
    tokens, silenced, factors = (sum(column) for column in zip(*counts, strict=True))
    if not tokens:
        return {}
    by_kind = {
        f"silenced_{name}": row[1] / row[0]
        for name, row in zip(TALLY_ROWS, counts, strict=True)
        if row[0]
    }
    return {"silenced": silenced / tokens, "mean_factor": factors / tokens, **by_kind}
