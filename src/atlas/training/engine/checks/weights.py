"""Enlarges weights for a check, because with small weights a fault of a part looks like rounding.

Freshly initialized weights of 0.02 make the attention of a model a small addition to its residual
stream. Weights are enlarged in place by powers of two, which is undone without rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_SCALABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Larger tensors are not copied.
_SMALL = 2**20
_NOISE = 0.25


@contextmanager
def enlarged_weights(model: Any) -> Iterator[None]:
    """Scale weights so that each layer of `model` keeps the size of its input; none is zero."""
    weights = [one for one in model.parameters() if one.dtype in _SCALABLE and one.numel()]
    kept: list[tuple[Tensor, Tensor]] = []
    powers: list[tuple[Tensor, int]] = []
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for weight in weights:
                size = float(weight.float().square().mean().sqrt())
                if weight.numel() <= _SMALL and (weight.dim() < 2 or not size):
                    kept.append((weight, weight.clone()))
                    noise = torch.randn(weight.shape, generator=generator)
                    weight += (_NOISE * noise).to(weight)
                elif weight.dim() >= 2 and size and (power := _power(weight, size)) > 0:
                    weight *= 2.0**power
                    powers.append((weight, power))
        # The cache holds casts of the weights.
        torch.clear_autocast_cache()
        yield
    finally:
        with torch.no_grad():
            for weight, before in kept:
                weight.copy_(before)
            for weight, power in powers:
                weight *= 2.0**-power
        torch.clear_autocast_cache()


def _power(weight: Tensor, size: float) -> int:
    """The power of two that brings a weight of this mean size near 1 / √(its width)."""
    if not math.isfinite(size):
        return 0
    width = math.sqrt(weight.shape[-1] * weight.shape[-2])
    return round(math.log2(1 / math.sqrt(width) / size))
