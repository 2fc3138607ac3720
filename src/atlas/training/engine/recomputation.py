"""Keeps only matrix products and attention of a layer for its backward pass.

Norms, activations, products, casts and rotary embeddings are computed again, from the results that
are kept. They are more than half of what autograd keeps of a layer, but take little of its time.
(Selective activation recomputation: Korthikanti et al., arXiv 2205.05198, recompute attention too,
which flash attention makes unnecessary.)
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

# The operators whose results are kept, by name: some exist only on some devices.
_KEPT = (
    "mm",
    "addmm",
    "bmm",
    "baddbmm",
    "_grouped_mm",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_flash_attention_forward",
)


def recompute_cheap_operations(layer: Any, applies: Callable[[Tensor], bool]) -> None:
    """Let `layer` keep only matrix products and attention for its backward pass.

    Args:
        applies: whether to do so in a pass with these hidden states, shape [B, T, H].

    Raises:
        ValueError: the layer has a convolution. These layers carry a state from token to token,
            and computing it again is not cheap.
    """
    convolutions = (nn.Conv1d, nn.Conv2d)
    if any(isinstance(module, convolutions) for module in layer.modules()):
        raise ValueError(f"{type(layer).__name__} has a convolution, so computing it again is slow")
    forward = layer.forward

    def forward_and_keep_little(*arguments: Any, **options: Any) -> Any:
        checkpoints = getattr(layer, "gradient_checkpointing", False) and layer.training
        states = (*arguments, *options.values())[0]
        if checkpoints or not torch.is_grad_enabled() or not applies(states):
            return forward(*arguments, **options)
        return checkpoint(forward, *arguments, use_reentrant=False, context_fn=_contexts, **options)

    layer.forward = forward_and_keep_little


def _contexts() -> Any:
    make: Callable[..., Any] = create_selective_checkpoint_contexts
    return make(_policy)


def _policy(_: Any, operator: Any, *__: Any, **___: Any) -> CheckpointPolicy:
    is_kept = operator in _kept_operators()
    return CheckpointPolicy.MUST_SAVE if is_kept else CheckpointPolicy.PREFER_RECOMPUTE


@functools.cache
def _kept_operators() -> frozenset[Any]:
    packets = (getattr(torch.ops.aten, name) for name in _KEPT if hasattr(torch.ops.aten, name))
    overloads = ([getattr(packet, name) for name in packet.overloads()] for packet in packets)
    return frozenset(itertools.chain.from_iterable(overloads))
