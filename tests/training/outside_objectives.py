"""Objectives of a user: one that works, and some that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from atlas.config import Config
from atlas.training.objectives.base import PredictedTokens

NAME = f"{__name__}:FocalObjective"


class FocalConfig(Config):
    """Settings of the focal loss."""

    power: float = Field(default=2.0, ge=0, description="power of 1 - p")


class FocalObjective:
    """The focal loss (arXiv 1708.02002): tokens that are probable count less."""

    Config = FocalConfig
    needs = "nothing"

    def __init__(self, config: FocalConfig) -> None:
        self._power = config.power

    def factors(self, tokens: PredictedTokens) -> Tensor:
        return (1 - tokens.log_probs.exp()).clamp(min=0) ** self._power


class Broken:
    """Gives what `result` makes of the tokens."""

    needs = "nothing"

    def __init__(self, config: Any) -> None:
        pass

    def factors(self, tokens: PredictedTokens) -> Any:
        raise NotImplementedError


class OneForAll(Broken):
    """One factor for all tokens."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return tokens.log_probs.exp().mean()


class OneForEachLogit(Broken):
    """A factor for each logit."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return tokens.logits


class ListOfNumbers(Broken):
    """Numbers that are no tensor."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return [1.0] * len(tokens.log_probs)


class NoNumbers(Broken):
    """Factors that are not numbers."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return torch.full_like(tokens.log_probs, float("nan"))


class NumPyArray(Broken):
    """An array of the right shape."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return np.ones(len(tokens.log_probs))


class Elsewhere(Broken):
    """A tensor on another device."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return torch.ones(len(tokens.log_probs), device="meta")


class Sparse(Broken):
    """A tensor with another layout."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return torch.ones_like(tokens.log_probs).to_sparse()


class Complex(Broken):
    """Complex numbers."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return tokens.log_probs + 1j


class TooLarge(Broken):
    """Finite in float64, and infinite in the type of the loss."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return torch.full_like(tokens.log_probs, 1e39, dtype=torch.float64)


class ChangesWeights(Broken):
    """Changes the weights that the loss is computed with."""

    def factors(self, tokens: PredictedTokens) -> Any:
        tokens.weights[0] = 100
        return torch.ones_like(tokens.log_probs)


class ChangesLogits(Broken):
    """Changes the model's predictions."""

    def factors(self, tokens: PredictedTokens) -> Any:
        tokens.logits.mul_(2)
        return tokens.log_probs.exp_()


class Raising(Broken):
    """An error."""

    def factors(self, tokens: PredictedTokens) -> Any:
        raise ZeroDivisionError("in factors")


class WithoutBase(Broken):
    """Reads what it does not ask for."""

    def factors(self, tokens: PredictedTokens) -> Any:
        return tokens.base_log_probs


class Needy(Broken):
    """Needs what there is not."""

    needs = "everything"


class NoMethod:
    """Has no factors."""
