"""No token influences another sequence of its row, or an earlier token of its own.

The size does not matter: the gradient between two sequences is exactly zero, and when the tokens of
one are exchanged, every bit of the others stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.training.engine.checks.equality import plain_logits
from atlas.training.engine.checks.probes import Probe
from atlas.training.engine.exact_engine import Engine

# The rounding that is allowed where experts compute the tokens of a whole row together: the number
# of tokens that an expert gets changes its rounding.
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 1e-2}
# If later tokens change a logit by more than this share of its size, it is not rounding, whatever
# the precision: the model attends to later tokens. A gradient of a causal model is exactly zero
# there. Only sums in another order may be below.
MEANT = 1e-6


def influence_between(engine: Engine, probes: Sequence[Probe]) -> str | None:
    """How a sequence would change with its neighbors in a row; None: it would not."""
    with watched_embeddings(engine.model) as watched:
        logits = engine.logits([one.example for one in probes])
    for index, each in enumerate(logits):
        others = [probe.own for other, probe in enumerate(probes) if other != index]
        for ids, gradient in watched.gradients(_projection(each), index + 1 < len(probes)):
            foreign = torch.isin(ids, torch.from_numpy(np.concatenate(others)).to(ids.device))
            if gradient[foreign].count_nonzero():
                return "a sequence would influence its neighbors in a row"
    routes = routes_tokens(engine.model)
    for index, probe in enumerate(probes):
        changed = [*probes[:index], probe.varied(), *probes[index + 1 :]]
        # Gradients stay on, because without them PyTorch may use another kernel.
        varied = engine.logits([one.example for one in changed])
        for other, (before, after) in enumerate(zip(logits, varied, strict=True)):
            if other != index and not _unchanged(before, after, routes):
                return "a sequence would change with its neighbors in a row"
    return None


def influence_of_future(model: Any, probe: Probe) -> float:
    """The share of its size by which later tokens change an earlier logit; 0: they do not."""
    whole = probe.example
    middle = len(whole.input_ids) - int(np.isin(whole.input_ids, probe.own).sum())
    # Only the predictions up to the last token of the prompt are looked at.
    labels = np.where(np.arange(len(whole.labels)) <= middle, whole.input_ids, -100)
    example = replace(whole, labels=labels.astype(np.int64))
    with watched_embeddings(model) as watched:
        logits = plain_logits(model, example)
    shares = [0.0]
    for ids, gradient in watched.gradients(_projection(logits), False):
        later = torch.arange(ids.shape[1], device=ids.device) > middle
        shares.append(float(gradient[:, later].norm() / gradient.norm()))
    varied = plain_logits(model, replace(probe, example=example).varied().example)
    if not _unchanged(logits, varied, routes_tokens(model)):
        shares.append(float((varied - logits).detach().norm() / logits.detach().norm()))
    return max(shares)


def routes_tokens(model: Any) -> bool:
    """Whether experts compute some of the tokens of a row."""
    return any("expert" in name for name, _ in model.named_modules())


class Watched:
    """The input embeddings of the passes so far: token ids and their embeddings."""

    def __init__(self) -> None:
        self.passes: list[tuple[Tensor, Tensor]] = []

    def gradients(self, loss: Tensor, keep: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Token ids of each pass, and the gradient of their embeddings."""
        found = torch.autograd.grad(
            loss, [states for _, states in self.passes], retain_graph=keep, allow_unused=True
        )
        for (ids, _), gradient in zip(self.passes, found, strict=True):
            if gradient is not None:
                yield ids, gradient


@contextmanager
def watched_embeddings(model: Any) -> Iterator[Watched]:
    """Keep the input embeddings of every forward pass inside the block."""
    watched = Watched()

    def watch(_: Any, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if arguments[0].dim() != 2:
            return output
        states = output if output.requires_grad else output.detach().requires_grad_()
        watched.passes.append((arguments[0], states))
        return states

    handle = model.get_input_embeddings().register_forward_hook(watch)
    try:
        yield watched
    finally:
        handle.remove()


def _projection(logits: Tensor) -> Tensor:
    """A number that depends on all logits of a sequence."""
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(logits.shape, generator=generator).to(logits)
    return (logits * direction).sum()


def _unchanged(before: Tensor, after: Tensor, routes: bool) -> bool:
    if torch.equal(before, after):
        return True
    return routes and bool((after - before).norm() <= ROUNDING[before.dtype] * before.norm())
