"""Computes losses in chunks, so that the logits [N, V] of all tokens are never in memory together.

The gradient of a sum is needed only up to a factor, which comes later from the backward pass. So
the gradient of each chunk is computed while its logits exist. Nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from atlas.training.loss import sum_divergence
from atlas.training.token_loss import Targets, TokenLoss

# Number of logits in one chunk, 64 MiB in float32.
CHUNK_LOGITS = 2**24
# Larger on a GPU: each chunk adds up a gradient of the whole head, which takes as long as the
# logits of about 400 tokens.
GPU_CHUNK_LOGITS = 2**26

Head = Callable[[Tensor], Tensor]
LossOfChunk = Callable[[Tensor, slice], Tensor]


def sum_chunked_token_loss(
    hidden: Tensor,
    targets: Targets,
    token_loss: TokenLoss,
    head: Head,
    parameters: Sequence[Tensor],
    vocabulary: int,
    base_hidden: Tensor | None = None,
    base_head: Head | None = None,
) -> Tensor:
    """`token_loss` of the N supervised tokens, with gradient to `hidden` and `parameters`.

    Args:
        hidden: shape [N, H]; the hidden states that predict them.
        head: hidden states [N, H] -> logits [N, V].
        parameters: the trained parameters of the head.
        vocabulary: V.
        base_hidden: the same of the base model with its head, if the objective needs them.
    """

    def loss_of(part: Tensor, rows: slice) -> Tensor:
        if base_hidden is None or base_head is None:
            return token_loss(head(part), targets.part(rows))
        with torch.no_grad():
            base_logits = base_head(base_hidden[rows])
        return token_loss(head(part), targets.part(rows), base_logits)

    # Half as many rows if there are two sets of logits.
    entries = chunk_logits(hidden.device.type) // (1 if base_hidden is None else 2)
    return _chunked_sum(hidden, loss_of, rows_of_chunk(entries, vocabulary), parameters)


def sum_chunked_divergence(
    hidden: Tensor,
    base_hidden: Tensor,
    head: Head,
    base_head: Head,
    parameters: Sequence[Tensor],
    vocabulary: int,
) -> Tensor:
    """Σ KL(base ‖ tuned) over the anchored tokens, with gradient to `hidden` and `parameters`.

    Args:
        hidden: shape [M, H]; the hidden states of the tuned model that predict them.
        base_hidden: the same of the base model.
        head: hidden states [M, H] -> logits [M, V]; base_head likewise.
        parameters: the trained parameters of the tuned model's head.
        vocabulary: V.
    """

    def loss_of(part: Tensor, rows: slice) -> Tensor:
        with torch.no_grad():
            base_logits = base_head(base_hidden[rows])
        return sum_divergence(head(part), base_logits)

    # Half as many rows, because there are two sets of logits.
    entries = chunk_logits(hidden.device.type) // 2
    return _chunked_sum(hidden, loss_of, rows_of_chunk(entries, vocabulary), parameters)


def _chunked_sum(
    hidden: Tensor, loss_of: LossOfChunk, rows: int, parameters: Sequence[Tensor]
) -> Tensor:
    apply: Callable[..., Tensor] = _ChunkedSum.apply
    return apply(hidden, loss_of, rows, *parameters)


def chunk_logits(device: str) -> int:
    """Number of logits in one chunk on this type of device."""
    return GPU_CHUNK_LOGITS if device == "cuda" else CHUNK_LOGITS


def rows_of_chunk(entries: int, vocabulary: int) -> int:
    """Rows of logits in a chunk of so many logits."""
    return max(16, entries // vocabulary)


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, loss_of: LossOfChunk, chunk: int, *parameters: Tensor
    ) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        wants_gradient = any(ctx.needs_input_grad)
        of_hidden = torch.empty_like(hidden) if wants_gradient else hidden
        # A None says that no chunk has reached this parameter.
        of_parameters: list[Tensor | None] = [None for _ in parameters if wants_gradient]
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            part = hidden[rows].detach().requires_grad_(wants_gradient)
            with torch.set_grad_enabled(wants_gradient):
                loss = loss_of(part, rows)
            total += loss.detach()
            if wants_gradient:
                wanted = [part, *parameters]
                of_hidden[rows], *of_head = torch.autograd.grad(loss, wanted, allow_unused=True)
                of_parameters = [*map(_add, of_parameters, _separate(of_head))]
                del of_head
        pairs = zip(of_parameters, parameters, strict=False)
        gradients = [None if one is None else one.to(whole.dtype) for one, whole in pairs]
        # They are handed over, not saved: the gradient of a large head is never there twice.
        ctx.gradients = [of_hidden, *gradients]
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError(
                "a second backward pass through a chunked loss: its gradients are computed once. "
                "Compute the loss again."
            )
        held, ctx.gradients = ctx.gradients, None
        of_hidden, *of_parameters = (
            None if one is None else one.mul_(gradients[0]) for one in held
        )
        return of_hidden, None, None, *of_parameters


def _separate(gradients: Sequence[Tensor | None]) -> Iterator[Tensor | None]:
    """The gradients without shared memory, so that each may be changed in place."""
    seen: set[int] = set()
    for gradient in gradients:
        if gradient is None:
            yield None
            continue
        place = gradient.untyped_storage().data_ptr()
        yield gradient if gradient.is_contiguous() and place not in seen else gradient.clone()
        seen.add(place)


def _add(total: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    """Their sum in float32 or better: a sum in bfloat16 would lose many small chunks."""
    if gradient is None:
        return total
    if total is None:
        return gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    total += gradient
    return total
