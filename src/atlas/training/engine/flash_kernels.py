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
from dataclasses import dataclass
from typing import Protocol

import torch

from atlas.training.engine.attention_calls import AttentionCall

Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class KernelInputs:
    """What one call attends with.

    Attributes:
        query: shape [Q, H, D].
        key: shape [K, G, D], as is the value; G divides H.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    call: AttentionCall
    scaling: float


class FlashKernels(Protocol):
    """Forward and backward of one call."""

    name: str

    def takes(self, query: torch.Tensor, window: int | None) -> bool:
        """Whether it supports a query like this one under this window."""
        ...

    def forward(self, given: KernelInputs) -> tuple[torch.Tensor, torch.Tensor]:
        """New output [Q, H, D] and log-sum-exp [H, Q]."""
        ...

    def backward(
        self,
        given: KernelInputs,
        gradient: torch.Tensor,
        output: torch.Tensor,
        logsumexp: torch.Tensor,
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
    if (
        device.type != "cuda"
        or torch.version.hip is not None
        or torch.cuda.get_device_capability(device) < (8, 0)
    ):
        return None
    # This module came together with the log-sum-exp without padding (torch 2.10).
    return CudaFlash() if importlib.util.find_spec("torch.nn.attention.varlen") else None


class CudaFlash:
    """The operators behind `varlen_attn`, with a backward pass that takes the joint log-sum-exp.

    A faster implementation that is activated for PyTorch
    (`torch.nn.attention.activate_flash_attention_impl`) is used here too.
    """

    name = "flash attention of variable length"

    def takes(self, query: torch.Tensor, window: int | None) -> bool:
        width = query.shape[-1]
        return query.dtype in (torch.bfloat16, torch.float16) and width % 8 == 0 and width <= 256

    def forward(self, given: KernelInputs) -> tuple[torch.Tensor, torch.Tensor]:
        call = given.call
        left, right = _window(call)
        output, logsumexp, *_ = torch.ops.aten._flash_attention_forward(
            given.query,
            given.key,
            given.value,
            call.query_edges_there,
            call.key_edges_there,
            call.longest_query,
            call.longest_key,
            0.0,
            call.causal,
            False,
            scale=given.scaling,
            window_size_left=left,
            window_size_right=right,
        )
        return output, logsumexp

    def backward(
        self,
        given: KernelInputs,
        gradient: torch.Tensor,
        output: torch.Tensor,
        logsumexp: torch.Tensor,
    ) -> Gradients:
        call, device = given.call, given.query.device
        left, right = _window(call)
        # The state of the dropout generator, which nothing reads.
        no_dropout = torch.zeros(2, dtype=torch.uint64, device=device)
        of_query, of_key, of_value = torch.ops.aten._flash_attention_backward(
            gradient,
            given.query,
            given.key,
            given.value,
            output,
            logsumexp,
            call.query_edges_there,
            call.key_edges_there,
            call.longest_query,
            call.longest_key,
            0.0,
            call.causal,
            no_dropout,
            torch.empty(0, device=device),
            scale=given.scaling,
            window_size_left=left,
            window_size_right=right,
        )
        return of_query, of_key, of_value


def _window(call: AttentionCall) -> tuple[int, int]:
    """How many keys a query sees to the left and right of its position; -1: all.

    Aligned at the last query and key of a piece.
    """
    if call.window is not None:
        return call.window - 1, 0
    return (-1, 0) if call.causal else (-1, -1)


class CpuFlash:
    """PyTorch's flash attention for CPUs, piece by piece: launches cost nothing there."""

    name = "flash attention, piece by piece"

    def takes(self, query: torch.Tensor, window: int | None) -> bool:
        return window is None

    def forward(self, given: KernelInputs) -> tuple[torch.Tensor, torch.Tensor]:
        query, key, value = given.query, given.key, given.value
        output = torch.empty_like(query)
        wide = torch.promote_types(query.dtype, torch.float32)
        sums = query.new_empty((query.shape[1], query.shape[0]), dtype=wide)
        for asked, keys in _pieces(given.call):
            tensors = (_heads_first(query[asked]), _heads_first(key[keys]))
            part, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *tensors, _heads_first(value[keys]), 0.0, given.call.causal, scale=given.scaling
            )
            output[asked], sums[:, asked] = _tokens_first(part), logsumexp[0]
        return output, sums

    def backward(
        self,
        given: KernelInputs,
        gradient: torch.Tensor,
        output: torch.Tensor,
        logsumexp: torch.Tensor,
    ) -> Gradients:
        query, key, value, call = given.query, given.key, given.value, given.call
        gradients = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for asked, keys in _pieces(call):
            places = (asked, asked, keys, keys, asked)
            tensors = [
                _heads_first(tensor[at])
                for tensor, at in zip((gradient, query, key, value, output), places, strict=True)
            ]
            parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                *tensors, logsumexp[None, :, asked], 0.0, call.causal, scale=given.scaling
            )
            for whole, part, at in zip(gradients, parts, (asked, keys, keys), strict=True):
                whole[at] = _tokens_first(part)
        return gradients


def _pieces(call: AttentionCall) -> list[tuple[slice, slice]]:
    queries, keys = (
        itertools.starmap(slice, itertools.pairwise(edges))
        for edges in (call.query_edges, call.key_edges)
    )
    return list(zip(queries, keys, strict=True))


def _heads_first(states: torch.Tensor) -> torch.Tensor:
    return states.transpose(0, 1)[None]


def _tokens_first(states: torch.Tensor) -> torch.Tensor:
    return states[0].transpose(0, 1)
