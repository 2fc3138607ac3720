"""Gives every rank the weights of the first before the base model is run.

FSDP's `cpu_ram_efficient_loading` may leave the other ranks without weights until the model is
sharded. A copy of the base model, and its predictions, are made earlier.
"""

from __future__ import annotations

from typing import Any

from atlas.models.local.precision import default_device
from atlas.training.ranks import Ranks


def equalize_weights(model: Any, ranks: Ranks) -> None:
    """Send all tensors of rank 0 to ranks whose tensors differ. All ranks call it."""
    marks = ranks.gather(_mark(model))
    if all(mark == marks[0] for mark in marks):
        return
    import torch

    if any(tensor.is_meta for tensor in _tensors(model).values()):
        model.to_empty(device=default_device())
        model.tie_weights()
    with torch.no_grad():
        for tensor in _tensors(model).values():
            torch.distributed.broadcast(tensor.data, 0)


def _mark(model: Any) -> dict[str, str]:
    """What distinguishes the tensors of two ranks, at the cost of reading them once."""
    return {
        name: "absent" if tensor.is_meta else repr(tensor.detach().double().sum().item())
        for name, tensor in _tensors(model).items()
    }


def _tensors(model: Any) -> dict[str, Any]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
