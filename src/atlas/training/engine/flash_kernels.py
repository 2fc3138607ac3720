"""Flash attention over pieces of a packed row, per device, behind one interface.

On a GPU this is PyTorch's variable-length flash attention: one launch for all pieces of a call,
however short they are, and no compilation. FlexAttention could state the whole row as one block
mask, but it compiles again for shapes that it has not seen, builds its mask for every row, and is
slower than flash attention where that applies. A loop over the pieces would spend most of its time
on launches. What a kernel does not support (see `takes`) goes through `masked_attention.py`.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from atlas.training.engine.attention_calls import AttentionCall
from atlas.training.engine.product_attention import gradients_by_products, takes_products

Gradients = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class KernelInputs:
    """What one call attends with.

    Attributes:
        query: shape [Q, H, D].
        key: shape [K, G, D], as is the value; G divides H.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    call: AttentionCall
    scaling: float

    @property
    def states(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.query, self.key, self.value


class FlashKernels(Protocol):
    """Forward and backward of one call."""

    name: str

    def takes(self, query: Tensor, window: int | None) -> bool:
        """Whether it supports a query like this one under this window."""
        ...

    def forward(self, given: KernelInputs) -> tuple[Tensor, Tensor]:
        """New output [Q, H, D] and log-sum-exp [H, Q]."""
        ...

    def backward(
        self, given: KernelInputs, gradient: Tensor, output: Tensor, logsumexp: Tensor
    ) -> Gradients:
        """The share of this call in the gradients of query, key and value.

        Output and log-sum-exp are those of all calls together.
        """
        ...


@functools.cache
def kernels_for(device: torch.device) -> FlashKernels | None:
    """The kernels of a device, decided only here; None: the general way is used."""
    if device.type == "cpu":
        return CpuFlash()
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    if torch.cuda.get_device_capability(device) < (8, 0):
        return None
    # This module came together with the log-sum-exp without padding (torch 2.10).
    return CudaFlash() if importlib.util.find_spec("torch.nn.attention.varlen") else None


class CudaFlash:
    """The operators behind `varlen_attn`, with a backward pass that takes the joint log-sum-exp.

    A faster implementation that is activated for PyTorch
    (`torch.nn.attention.activate_flash_attention_impl`) is used here too.
    """

    name = "flash attention of variable length"

    def takes(self, query: Tensor, window: int | None) -> bool:
        width = query.shape[-1]
        return query.dtype in (torch.bfloat16, torch.float16) and width % 8 == 0 and width <= 256

    def forward(self, given: KernelInputs) -> tuple[Tensor, Tensor]:
        output, logsumexp, *_ = torch.ops.aten._flash_attention_forward(
            *given.states, *_sizes(given.call), 0.0, given.call.causal, False, **_options(given)
        )
        return output, logsumexp

    def backward(
        self, given: KernelInputs, gradient: Tensor, output: Tensor, logsumexp: Tensor
    ) -> Gradients:
        device = given.query.device
        # The state of the dropout generator, which nothing reads.
        no_dropout = (
            torch.zeros(2, dtype=torch.uint64, device=device),
            torch.empty(0, device=device),
        )
        states, sizes = (*given.states, output, logsumexp), _sizes(given.call)
        of_query, of_key, of_value = torch.ops.aten._flash_attention_backward(
            gradient, *states, *sizes, 0.0, given.call.causal, *no_dropout, **_options(given)
        )
        return of_query, of_key, of_value


def _sizes(call: AttentionCall) -> tuple[Tensor, Tensor, int, int]:
    return call.query_edges_there, call.key_edges_there, call.longest_query, call.longest_key


def _options(given: KernelInputs) -> dict[str, float]:
    """The scale, and how many keys a query sees to the left and right of it; -1: all."""
    call = given.call
    left = -1 if call.window is None else call.window - 1
    right = -1 if call.window is None and not call.causal else 0
    return {"scale": given.scaling, "window_size_left": left, "window_size_right": right}


class CpuFlash:
    """PyTorch's flash attention for CPUs, piece by piece: launches cost nothing there."""

    name = "flash attention, piece by piece"

    def takes(self, query: Tensor, window: int | None) -> bool:
        return window is None

    def forward(self, given: KernelInputs) -> tuple[Tensor, Tensor]:
        query, key, value = given.states
        output = torch.empty_like(query)
        wide = torch.promote_types(query.dtype, torch.float32)
        sums = query.new_empty((query.shape[1], query.shape[0]), dtype=wide)
        for asked, keys in _pieces(given.call):
            tensors = map(_heads_first, (query[asked], key[keys], value[keys]))
            part, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *tensors, 0.0, given.call.causal, scale=given.scaling
            )
            output[asked], sums[:, asked] = _tokens_first(part), logsumexp[0]
        return output, sums

    def backward(
        self, given: KernelInputs, gradient: Tensor, output: Tensor, logsumexp: Tensor
    ) -> Gradients:
        query, key, value = given.states
        gradients = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for asked, keys in _pieces(given.call):
            tensors = gradient[asked], query[asked], key[keys], value[keys], output[asked]
            sums, causal, scale = logsumexp[:, asked], given.call.causal, given.scaling
            if takes_products(query[asked], key[keys]):
                parts = gradients_by_products(*tensors, sums, causal, scale)
            else:
                of_heads = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                    *map(_heads_first, tensors), sums[None], 0.0, causal, scale=scale
                )
                parts = tuple(map(_tokens_first, of_heads))
            for whole, part, at in zip(gradients, parts, (asked, keys, keys), strict=True):
                whole[at] = part
        return gradients


def _pieces(call: AttentionCall) -> Iterator[tuple[slice, slice]]:
    edges = call.query_edges, call.key_edges
    queries, keys = (itertools.starmap(slice, itertools.pairwise(ends)) for ends in edges)
    return zip(queries, keys, strict=True)


def _heads_first(states: Tensor) -> Tensor:
    return states.transpose(0, 1)[None]


def _tokens_first(states: Tensor) -> Tensor:
    return states[0].transpose(0, 1)
