"""Same logits, same loss, same gradients as plain training: one sequence at a time, all logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.engine.exact_engine import Engine
from atlas.training.examples import TrainingExample
from atlas.training.token_loss import Targets, TokenLoss

# Allowed differences, relative to the size of the tensor that is compared. Norms use float32 even
# in float64 models. The gradient of a whole tensor collects more rounding: this many times as much.
TOLERANCES = {torch.float64: 2e-5, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
OF_GRADIENTS = 10.0
# Of long sequences in padded rows, where the model makes its own masks. Enlarged weights enlarge
# rounding too: in bf16 such logits are 3 to 10 % off those in float32, however they are computed.
OF_PADDED = {torch.bfloat16: 3.0, torch.float16: 3.0}
# A gradient below this share of the largest one may be only rounding. An example is the gradient of
# the bias of the keys, which cancels in the softmax.
NOISE = 1e-2


@dataclass(frozen=True, slots=True)
class Measured:
    """Logits, loss and gradients of one way of training on the probes.

    Attributes:
        logits: for each probe those that predict its supervised tokens, shape [N, V].
        gradients: of each trained parameter; None: the loss does not depend on it.
    """

    logits: list[Tensor]
    loss: Tensor
    gradients: dict[str, Tensor | None]

    @property
    def is_finite(self) -> bool:
        return all(bool(each.isfinite().all()) for each in (*self.logits, self.loss))


def plain_logits(model: Any, example: TrainingExample) -> Tensor:
    """The logits that predict the example's supervised tokens, shape [N, V], from all logits."""
    device = model.get_input_embeddings().weight.device
    ids = torch.from_numpy(example.input_ids).long()[None].to(device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    supervised = np.flatnonzero(example.labels[1:] != IGNORED_LABEL)
    return logits[torch.from_numpy(supervised).to(device)]


def measure_plain(model: Any, examples: Sequence[TrainingExample]) -> Measured:
    """Measure plain training, one sequence at a time. All parts must be switched off."""
    logits = [plain_logits(model, one) for one in examples]
    loss = torch.zeros((), device=logits[0].device)
    for each, one in zip(logits, examples, strict=True):
        targets = one.labels[1:][one.labels[1:] != IGNORED_LABEL]
        answers = torch.from_numpy(targets).to(each.device)
        loss = loss + TokenLoss()(each, Targets(answers, torch.ones_like(answers)))
    return Measured([each.detach() for each in logits], loss.detach(), _gradients(model, loss))


def measure_engine(engine: Engine, model: Any, examples: Sequence[TrainingExample]) -> Measured:
    """Measure the engine with the parts that are switched on."""
    with torch.no_grad():
        logits = engine.logits(examples)
    loss = engine.loss(model, examples)
    gradients = {} if engine.window is not None else _gradients(model, loss)
    return Measured(logits, loss.detach(), gradients)


def difference(plain: Measured, found: Measured, dtype: torch.dtype) -> str | None:
    """What differs between the two by more than rounding; None if nothing does."""
    allowed = TOLERANCES[dtype]
    if problem := differing_logits(plain.logits, found.logits, dtype):
        return problem
    if not (found.loss - plain.loss).abs() <= allowed * plain.loss.abs():
        return "its loss would not be the same"
    names = found.gradients.keys()
    sizes = {name: _size(gradient) for name, gradient in plain.gradients.items()}
    floor = NOISE * allowed * max(sizes.values(), default=0.0)
    for name in names:
        expected, gradient = plain.gradients[name], found.gradients[name]
        size = sizes[name]
        if gradient is None and size:
            return f"{name} would get no gradient"
        if gradient is None:
            continue
        if not size and _size(gradient):
            return f"{name} would get a gradient that plain training does not give"
        error = _size(gradient if expected is None else gradient - expected)
        if not error <= OF_GRADIENTS * allowed * size + floor:
            return f"the gradient of {name} would not be the same"
    return None


def differing_logits(
    plain: Sequence[Tensor], found: Sequence[Tensor], dtype: torch.dtype, factor: float = 1.0
) -> str | None:
    """Whether the logits of a sequence differ by more than rounding."""
    allowed = factor * TOLERANCES[dtype]
    for expected, logits in zip(plain, found, strict=True):
        if not (logits - expected).norm() <= allowed * expected.norm():
            return "its logits would not be the same"
    return None


def _gradients(model: Any, loss: Tensor) -> dict[str, Tensor | None]:
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    if not trained:
        return {}
    found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return dict(zip(trained, found, strict=True))


def _size(gradient: Tensor | None) -> float:
    """The root of the mean square."""
    if gradient is None or not gradient.numel():
        return 0.0
    return float(gradient.float().square().mean().sqrt())
