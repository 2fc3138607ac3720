"""Attention over a packed row: each node attends to itself causally and to the nodes above it, and to nothing else.

No mask of the whole row is ever made: it would be T × T, and dense masks are what makes packing slow. On a CPU the parts
are flash attention each, joined exactly by their log-sum-exp: what siblings have above them is attended to in one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from atlas.training.packed_rows import Node, PackedRow

IMPLEMENTATION = "atlas_packed_rows"  # its row in transformers' table of attention functions; it asks for no mask

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """Who asks whom.

    Attributes:
        nodes: of the packed row; their tokens are the keys.
        queries: for each node the tokens of the row that ask, ascending; None where all of the row do.
    """

    nodes: tuple[Node, ...]
    queries: tuple[NDArray[np.int64], ...] | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return max(node.position + node.end - node.start for node in self.nodes)


def plan_all(row: PackedRow) -> AttentionPlan:
    """Every token asks."""
    return AttentionPlan(row.nodes)


def plan_for(row: PackedRow, places: NDArray[np.int64]) -> AttentionPlan:
    """Only the tokens at `places` ask, ascending."""
    edges = np.searchsorted(places, [node.end for node in row.nodes])
    return AttentionPlan(row.nodes, tuple(np.split(places, edges[:-1])))


def register() -> None:
    """Make the function known to transformers, under IMPLEMENTATION."""
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATION, attend)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    plan: AttentionPlan | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface of attention functions: query [1, H, Q, D], key and value [1, G, T, D] -> [1, Q, H, D]."""
    if plan is None:
        raise RuntimeError("attention over packed rows was called without a plan, expected one: this model does not hand it down.")
    dtype = torch.get_autocast_dtype(query.device.type) if torch.is_autocast_enabled(query.device.type) else value.dtype
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = None if sliding_window is None or sliding_window >= plan.longest else sliding_window
    if plan.queries is None and query.device.type == "cpu" and window is None and softcap is None and not dropout:
        attended: torch.Tensor = _ForestAttention.apply(query, key, value, plan.nodes, scaling)  # type: ignore[no-untyped-call]
    else:
        attended = _attend_with_masks(query, key, value, plan, scaling, dropout, window, softcap)
    return attended.transpose(1, 2).contiguous(), None


class _ForestAttention(torch.autograd.Function):
    """Flash attention of each node with itself and of siblings with what is above them.

    Softmax over two sets of keys is the mean of the softmaxes over each, weighed by their sums of exponentials. The backward pass
    of flash attention needs only the joint output and the joint log-sum-exp, so each part has its exact share of the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, nodes: tuple[Node, ...], scaling: float
    ) -> torch.Tensor:
        output = torch.empty_like(query)
        sums = query.new_empty(query.shape[:3], dtype=torch.float64 if query.dtype == torch.float64 else torch.float32)
        for node in nodes:
            own = slice(node.start, node.end)
            part, logsumexp = _flash(query[:, :, own], key[:, :, own], value[:, :, own], 0.0, True, scale=scaling)
            output[:, :, own], sums[:, :, own] = part, logsumexp
        for siblings, above in _families(nodes):
            part, logsumexp = _flash(query[:, :, siblings], _gather(key, above), _gather(value, above), 0.0, False, scale=scaling)
            joint = torch.logaddexp(sums[:, :, siblings], logsumexp)
            own_share, above_share = (sums[:, :, siblings] - joint).exp_(), (logsumexp - joint).exp_()
            mixed = own_share[..., None] * output[:, :, siblings] + above_share[..., None] * part
            output[:, :, siblings], sums[:, :, siblings] = mixed.to(output.dtype), joint
        ctx.save_for_backward(query, key, value, output, sums)
        ctx.nodes, ctx.scaling = nodes, scaling
        return output

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output, sums = ctx.saved_tensors  # type: ignore[attr-defined]
        nodes, scaling = ctx.nodes, ctx.scaling  # type: ignore[attr-defined]
        gradient = gradients[0].contiguous()
        of_query, of_key, of_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for node in nodes:
            own = slice(node.start, node.end)
            given = [tensor[:, :, own] for tensor in (gradient, query, key, value, output, sums)]
            of_query[:, :, own], of_key[:, :, own], of_value[:, :, own] = _flash_backward(*given, 0.0, True, scale=scaling)
        for siblings, above in _families(nodes):
            grad, asked, out, logsumexp = (tensor[:, :, siblings] for tensor in (gradient, query, output, sums))
            parts = _flash_backward(grad, asked, _gather(key, above), _gather(value, above), out, logsumexp, 0.0, False, scale=scaling)
            of_query[:, :, siblings] += parts[0]
            start = 0
            for place in above:
                length = place.stop - place.start
                of_key[:, :, place] += parts[1][:, :, start : start + length]
                of_value[:, :, place] += parts[2][:, :, start : start + length]
                start += length
        return of_query, of_key, of_value, None, None


def _families(nodes: tuple[Node, ...]) -> list[tuple[slice, list[slice]]]:
    """(places of siblings, places of what is above them), for all nodes with something above."""
    families: list[tuple[slice, list[slice]]] = []
    ancestors: tuple[int, ...] = ()
    for node in nodes:
        if node.ancestors and node.ancestors == ancestors:
            families[-1] = (slice(families[-1][0].start, node.end), families[-1][1])
        elif node.ancestors:
            families.append((slice(node.start, node.end), [slice(nodes[index].start, nodes[index].end) for index in node.ancestors]))
        ancestors = node.ancestors
    return families


def _gather(states: torch.Tensor, places: list[slice]) -> torch.Tensor:
    return states[:, :, places[0]] if len(places) == 1 else torch.cat([states[:, :, place] for place in places], dim=2)


def _attend_with_masks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    plan: AttentionPlan,
    scaling: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """The general way: node by node, with a mask of that node's queries × keys. Heads that share keys are folded into the queries."""
    nodes, groups = plan.nodes, key.shape[1]
    lengths = [node.end - node.start for node in nodes]
    keys, values = torch.split(key, lengths, dim=2), torch.split(value, lengths, dim=2)
    counts = lengths if plan.queries is None else [len(places) for places in plan.queries]
    pieces = []
    for index, (node, asked) in enumerate(zip(nodes, torch.split(query, counts, dim=2), strict=True)):
        if not counts[index]:
            continue
        path = (*node.ancestors, index)
        own_keys = torch.cat([keys[above] for above in path], dim=2)
        own_values = torch.cat([values[above] for above in path], dim=2)
        places = np.arange(node.start, node.end) if plan.queries is None else plan.queries[index]
        asks = torch.from_numpy(places - node.start + node.position).to(query.device)[:, None]
        answers = torch.arange(own_keys.shape[2], device=query.device)[None]
        mask = answers <= asks if window is None else (answers <= asks) & (answers > asks - window)
        repeats = query.shape[1] // groups
        folded = asked.reshape(1, groups, repeats * counts[index], -1)
        piece = _masked(folded, own_keys, own_values, mask.repeat(repeats, 1), scaling, dropout, softcap)
        pieces.append(piece.reshape(1, query.shape[1], counts[index], -1))
    return torch.cat(pieces, dim=2)


def _masked(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    dropout: float,
    softcap: float | None,
) -> torch.Tensor:
    if softcap is None:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scaling / softcap)
    shares = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1, dtype=torch.promote_types(query.dtype, torch.float32))
    return functional.dropout(shares.to(query.dtype), dropout) @ value
