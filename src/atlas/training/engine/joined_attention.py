"""Attention in several calls of a flash kernel, joined exactly, forward and backward.

Softmax over two disjoint sets of keys is the mean of the softmaxes over each, weighted by their
sums of exponentials. The backward pass of flash attention needs only the joint output and the joint
log-sum-exp, so each call has its exact share of the gradient. (Ring attention over several devices
uses the same two facts, arXiv 2310.01889.)

An attention sink is one more key. It has one score for each head and a value of zero (as in
gpt-oss), so it is joined in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from atlas.training.engine.attention_calls import AttentionCall
from atlas.training.engine.flash_kernels import FlashKernels, KernelInputs


def attend_jointly(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    calls: Sequence[AttentionCall],
    kernels: FlashKernels,
    scaling: float,
    sinks: Tensor | None = None,
) -> Tensor:
    """Output [Q, H, D] of query [Q, H, D] over key and value [T, G, D], cut by `plan_calls`.

    Args:
        sinks: shape [H]; the score of the sink of each head.
    """
    apply: Callable[..., Tensor] = _JoinedAttention.apply
    return apply(query, key, value, sinks, calls, kernels, scaling)


class _JoinedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sinks: Tensor | None,
        calls: Sequence[AttentionCall],
        kernels: FlashKernels,
        scaling: float,
    ) -> Tensor:
        def run(call: AttentionCall) -> tuple[Tensor, Tensor]:
            states = query[call.queries], key[call.keys], value[call.keys]
            return kernels.forward(KernelInputs(*states, call, scaling))

        # The first call takes all queries.
        output, sums = run(calls[0])
        for call in calls[1:]:
            asked, (part, logsumexp) = call.queries, run(call)
            joint = torch.logaddexp(sums[:, asked], logsumexp)
            share, share_of_part = (
                (one - joint).exp_().T[..., None] for one in (sums[:, asked], logsumexp)
            )
            output[asked] = (share * output[asked] + share_of_part * part).to(output.dtype)
            sums[:, asked] = joint
        if sinks is not None:
            joint = torch.logaddexp(sums, sinks[:, None].to(sums.dtype))
            output = ((sums - joint).exp().T[..., None] * output).to(output.dtype)
            sums = joint
        ctx.save_for_backward(query, key, value, sinks, output, sums)
        ctx.calls, ctx.kernels, ctx.scaling = calls, kernels, scaling
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, sinks, output, sums = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        # A key that many queries attend to gathers many small gradients.
        wide = torch.promote_types(query.dtype, torch.float32)
        totals: list[Tensor | None] = [None, None, None]
        for call in ctx.calls:
            asked, keys = call.queries, call.keys
            parts = ctx.kernels.backward(
                KernelInputs(query[asked], key[keys], value[keys], call, ctx.scaling),
                gradient[asked],
                output[asked],
                sums[:, asked].contiguous(),
            )
            for index, (part, places, whole) in enumerate(
                zip(parts, (asked, keys, keys), (query, key, value), strict=True)
            ):
                totals[index] = _add(totals[index], part, places, whole, wide, len(ctx.calls) == 1)
        of_sinks = None
        if sinks is not None:
            # Its value is zero, so only what it takes from the other keys remains.
            shares = (sinks[:, None].to(sums.dtype) - sums).exp_()
            of_sinks = -(shares * (gradient.to(wide) * output).sum(-1).T).sum(-1).to(sinks.dtype)
        of_states = (total.to(query.dtype) for total in totals if total is not None)
        return (*of_states, of_sinks, None, None, None)


def _add(
    total: Tensor | None,
    part: Tensor,
    places: slice | Tensor,
    whole: Tensor,
    wide: torch.dtype,
    is_only: bool,
) -> Tensor:
    """`total` (None: zeros like `whole`) with `part` added at `places`."""
    if total is None and isinstance(places, slice) and len(part) == len(whole):
        return part if is_only else part.to(wide)
    if total is None:
        total = whole.new_zeros(whole.shape, dtype=wide)
    if isinstance(places, slice):
        total[places] += part
        return total
    return total.index_add_(0, places, part.to(wide))
