"""Finds out which parts of the engine a model supports, by comparison with the plain forward pass.

If a part fails or gives another result, it is left out and reported, and training continues without
it. The flash kernels of the device are tested in the same way against the general attention,
forward and backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.errors import ModelError
from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.base_model import BaseModel
from atlas.training.config import EngineConfig
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.engine.packed_rows import MIN_SHARED_TOKENS
from atlas.training.examples import TrainingExample
from atlas.training.loss import pad, sum_losses

NEEDS_PACKING = ("shared_prompts", "last_layer")
# Tolerances relative to the largest hidden state. Norms use float32 even in float64 models. A leak
# between sequences or a wrong position changes hidden states much more.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """An engine that is ready for training.

    Attributes:
        left_out: each requested part that is not used, and the reason.
        flash_problem: why flash attention is not used; None if it is.
    """

    engine: Engine
    left_out: dict[str, str] = field(default_factory=dict)
    flash_problem: str | None = None


def choose_parts(
    model: Any,
    config: EngineConfig,
    window: int | None = None,
    autocast: torch.dtype | None = None,
    base: BaseModel | None = None,
) -> ChosenEngine:
    """Put every requested part that `model` supports into it, and into `base` if given.

    Args:
        window: tokens before each supervised one through which the gradient goes; None: all.
        autocast: the type in which training computes, if it differs from the model's.

    Raises:
        ModelError: the gradient is limited to a window, which needs `packing`, and the model does
            not support that.
    """
    engine = Engine(model, window, base)
    engine.uses_flash = False
    chosen: list[str] = []
    left_out: dict[str, str] = {}
    flash_problem: str | None = None
    was_training = model.training
    # The results are equal only without dropout.
    model.eval()
    try:
        for part in PARTS:
            if not getattr(config, part) or (part == "last_layer" and window is not None):
                pass
            elif part in NEEDS_PACKING and "packing" not in chosen:
                left_out[part] = "it needs packing"
            elif problem := _try_part(engine, model, [*chosen, part]):
                left_out[part] = problem
            else:
                chosen.append(part)
        if window is not None and "packing" not in chosen:
            reason = left_out.get("packing", "engine.packing is off")
            raise ModelError(
                "context_gradient needs packing, which this model does not support: "
                f"{reason}. Set context_gradient=full."
            )
        engine.put_in(chosen)
        if "packing" in chosen:
            flash_problem = _try_flash(engine, model, autocast)
            if flash_problem is not None:
                engine.uses_flash = False
                engine.ways.clear()
    finally:
        model.train(was_training)
    return ChosenEngine(engine, left_out, flash_problem)


@torch.no_grad()
def _try_part(engine: Engine, model: Any, parts: Sequence[str]) -> str | None:
    """The reason why this model does not support these parts; None if it does."""
    probes = _probes(int(engine.model.config.get_text_config().vocab_size))
    engine.put_in(())
    padded = {name: tensor.to(engine.model.device) for name, tensor in pad(probes).items()}
    plain_loss = sum_losses(model, padded)[0]
    plain = engine.hidden_states(probes)
    try:
        engine.put_in(parts)
        loss, hidden = engine.loss(model, probes), engine.hidden_states(probes)
    except Exception as error:
        # An architecture without support for a part may raise any error.
        engine.put_in(())
        return _first_line(error)
    # Quantized layers use their own type.
    quantization = getattr(engine.model.config, "quantization_config", None)
    compute_dtype = getattr(quantization, "bnb_4bit_compute_dtype", plain.dtype)
    tolerance = max(TOLERANCES[plain.dtype], TOLERANCES[compute_dtype])
    if not (hidden - plain).abs().max() <= tolerance * plain.abs().max():
        return "its hidden states would not be the same"
    if not (loss - plain_loss).abs() <= tolerance * plain_loss.abs():
        return "its loss would not be the same"
    return None


def _try_flash(engine: Engine, model: Any, autocast: torch.dtype | None) -> str | None:
    """The reason why the device's flash kernels cannot be used; None if they can.

    Loss and gradient are compared under the precision of training.
    """
    probes = _probes(int(engine.model.config.get_text_config().vocab_size))
    trained = [parameter for parameter in engine.model.parameters() if parameter.requires_grad]
    found: list[tuple[Tensor, Tensor]] = []
    for engine.uses_flash in (False, True):
        engine.ways.clear()
        try:
            with torch.autocast(engine.model.device.type, autocast, enabled=autocast is not None):
                loss = engine.loss(model, probes)
            # The first layers come first: this gradient has been through the attention of all.
            gradient = (
                torch.autograd.grad(loss, min(trained[:16], key=Tensor.numel), allow_unused=True)[0]
                if trained
                else None
            )
        except Exception as error:
            # The kernel was not built for this device, the driver is too old, and so on.
            if not engine.uses_flash:
                raise
            return _first_line(error)
        none = torch.zeros((), device=loss.device)
        found.append((loss.detach(), none if gradient is None else gradient))
    tolerance = TOLERANCES[autocast or engine.model.dtype]
    for name, (masked, flash), allowed in zip(
        ("loss", "gradient"), zip(*found, strict=True), (tolerance, 5 * tolerance), strict=True
    ):
        if not (flash - masked).norm() <= allowed * masked.norm():
            return f"its {name} would not be the same"
    return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().split(chr(10), 1)[0]}"


def _probes(vocabulary: int) -> list[TrainingExample]:
    """Three short sequences in lexicographic order, two of which begin alike."""
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, vocabulary, MIN_SHARED_TOKENS + 8)
    tails = [rng.integers(0, vocabulary, length) for length in (9, 14)]
    together = [np.concatenate([prompt, tail]) for tail in tails]
    sequences = [*together, rng.integers(0, vocabulary, 21)]
    probes = []
    for ids in sorted(sequences, key=lambda ids: tuple(ids.tolist())):
        labels = np.where(rng.random(len(ids)) < 0.4, ids, IGNORED_LABEL)
        labels[0], labels[-1] = IGNORED_LABEL, ids[-1]
        probes.append(TrainingExample("probe", ids.astype(np.int32), labels.astype(np.int64)))
    return probes
