"""Cross-entropy in chunks: the logits [N, V] of all supervised tokens never exist at once.

A sum needs no gradient from above to have its own, so each chunk's gradient is taken while its logits are there, and only
multiplied later. Nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from atlas.training.loss import sum_of

CHUNK_LOGITS = 2**24  # entries of one chunk's logits, 64 MiB in float32

Head = Callable[[torch.Tensor], torch.Tensor]


def sum_chunked_cross_entropy(
    hidden: torch.Tensor, targets: torch.Tensor, head: Head, parameters: Sequence[torch.Tensor], vocabulary: int
) -> torch.Tensor:
    """Σ −log π over the supervised tokens; a scalar that carries gradient to `hidden` and `parameters`.

    Args:
        hidden: shape [N, H]; the hidden states that predict them.
        targets: shape [N].
        head: hidden states [N, H] -> logits [N, V].
        parameters: of the head, those that are trained.
        vocabulary: V.
    """
    chunk = max(16, CHUNK_LOGITS // vocabulary)
    return _ChunkedSum.apply(hidden, targets, head, chunk, *parameters)  # type: ignore[no-any-return, no-untyped-call]


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, targets: torch.Tensor, head: Head, chunk: int, *parameters: torch.Tensor) -> torch.Tensor:
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        wants_gradient = any(ctx.needs_input_grad)
        of_hidden = torch.empty_like(hidden) if wants_gradient else hidden
        of_parameters = [torch.zeros_like(parameter) for parameter in parameters] if wants_gradient else []
        for start in range(0, len(hidden), chunk):
            part = hidden[start : start + chunk].detach().requires_grad_(wants_gradient)
            with torch.set_grad_enabled(wants_gradient):
                loss = sum_of(head(part), targets[start : start + chunk])
            total += loss.detach()
            if wants_gradient:
                of_hidden[start : start + chunk], *of_head = torch.autograd.grad(loss, [part, *parameters])
                for gathered, gradient in zip(of_parameters, of_head, strict=True):
                    gathered += gradient
        ctx.save_for_backward(of_hidden, *of_parameters)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        factor = gradients[0]
        of_hidden, *of_parameters = ctx.saved_tensors
        return of_hidden * factor, None, None, None, *(gradient * factor for gradient in of_parameters)
