"""Flash attention over pieces of a packed row, per device, behind one interface: output and log-sum-exp, and the gradients.

On a GPU the way is PyTorch's variable-length flash attention: one launch for all pieces of a call, however short they are, and
no compilation. FlexAttention could state the whole row as one block mask, but is compiled anew for shapes it has not seen,
builds its mask from scratch for every row, and is slower than flash attention where that applies; a loop over the pieces would
spend most of its time on launches. Whatever a kernel does not take (see `takes`) goes through `masked_attention.py`.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from typing import Protocol

import torch

from atlas.training.engine.attention_calls import AttentionCall

Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class FlashKernels(Protocol):
    """Forward and backward of one call. Shapes: query [Q, H, D], key and value [K, G, D] (G divides H), log-sum-exp [H, Q]."""

    name: str

    def takes(self, query: torch.Tensor, window: int | None) -> bool:
        """Whether it computes this at all: a query like this one, under this window."""
        ...

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        call: AttentionCall,
        scaling: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Fresh output [Q, H, D] and log-sum-exp [H, Q]."""
        ...

    def backward(
        self,
        gradient: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        output: torch.Tensor,
        logsumexp: torch.Tensor,
        call: AttentionCall,
        scaling: float,
    ) -> Gradients:
        """The share of this call in the gradients, where output and log-sum-exp are those of all calls together."""
        ...


@functools.cache
def kernels_for(device: torch.device) -> FlashKernels | None:
    """The one place where the device decides; None: the general way alone."""
    if device.type == "cpu":
        return CpuFlash()
    if (
        device.type != "cuda"
        or torch.version.hip is not None
        or torch.cuda.get_device_capability(device) < (8, 0)
    ):
        return None
    # With this module came the log-sum-exp without padding (torch 2.10).
    return CudaFlash() if importlib.util.find_spec("torch.nn.attention.varlen") else None


class CudaFlash:
    """What `torch.nn.attention.varlen.varlen_attn` calls, with a backward pass that takes the joint log-sum-exp.

    A faster implementation that is activated for PyTorch (`torch.nn.attention.activate_flash_attention_impl`) is used here too.
    """

    name = "flash attention of variable length"

    def takes(self, query: torch.Tensor, window: int | None) -> bool:
        width = query.shape[-1]
        return query.dtype in (torch.bfloat16, torch.float16) and width % 8 == 0 and width <= 256

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        call: AttentionCall,
        scaling: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = _window(call)
        output, logsumexp, *_ = torch.ops.aten._flash_attention_forward(
            query,
            key,
            value,
            call.query_edges_there,
            call.key_edges_there,
            call.longest_query,
            call.longest_key,
            0.0,
            call.causal,
            False,
            scale=scaling,
            window_size_left=left,
            window_size_right=right,
        )
        return output, logsumexp

    def backward(
        self,
        gradient: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        output: torch.Tensor,
        logsumexp: torch.Tensor,
        call: AttentionCall,
        scaling: float,
    ) -> Gradients:
        left, right = _window(call)
        no_dropout = torch.zeros(
            2, dtype=torch.uint64, device=query.device
        )  # the state of its generator, which nothing reads
        of_query, of_key, of_value = torch.ops.aten._flash_attention_backward(
            gradient,
            query,
            key,
            value,
            output,
            logsumexp,
            call.query_edges_there,
            call.key_edges_there,
            call.longest_query,
            call.longest_key,
            0.0,
            call.causal,
            no_dropout,
            torch.empty(0, device=query.device),
            scale=scaling,
            window_size_left=left,
            window_size_right=right,
        )
        return of_query, of_key, of_value


def _window(call: AttentionCall) -> tuple[int, int]:
    """Keys to the left and right of a query's own that it sees; -1: all. Aligned at the last query and key of a piece."""
    if call.window is not None:
        return call.window - 1, 0
    return (-1, 0) if call.causal else (-1, -1)


class CpuFlash:
    """PyTorch's flash attention for CPUs, piece by piece: launches cost nothing there."""

    name = "flash attention, piece by piece"

    def takes(self, query: torch.Tensor, window: int | None) -> bool:
        return window is None

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        call: AttentionCall,
        scaling: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        output = torch.empty_like(query)
        wide = torch.promote_types(query.dtype, torch.float32)
        sums = query.new_empty((query.shape[1], query.shape[0]), dtype=wide)
        for asked, keys in _pieces(call):
            given = (_heads_first(query[asked]), _heads_first(key[keys]), _heads_first(value[keys]))
            part, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *given, 0.0, call.causal, scale=scaling
            )
            output[asked], sums[:, asked] = _tokens_first(part), logsumexp[0]
        return output, sums

    def backward(
        self,
        gradient: torch.Tensor,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        output: torch.Tensor,
        logsumexp: torch.Tensor,
        call: AttentionCall,
        scaling: float,
    ) -> Gradients:
        gradients = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for asked, keys in _pieces(call):
            places = (asked, asked, keys, keys, asked)
            given = [
                _heads_first(tensor[at])
                for tensor, at in zip((gradient, query, key, value, output), places, strict=True)
            ]
            parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                *given, logsumexp[None, :, asked], 0.0, call.causal, scale=scaling
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
