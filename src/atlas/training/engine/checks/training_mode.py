"""Finds what a model does only in training mode, and what a row of several sequences changes of it.

Dropout is drawn for each token separately, so its distribution in a row is that of the sequences
one by one. This does not hold for layers that are skipped for a whole pass, or for noise in the
choice of experts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from atlas.errors import ModelError
from atlas.training.engine.checks.equality import TOLERANCES, plain_logits
from atlas.training.engine.checks.influence import ROUNDING
from atlas.training.examples import TrainingExample

_DROPOUT = re.compile(r"drop")
_LAYER_DROP = re.compile(r"layer_?drop|drop_?path")


def refuse_auxiliary_losses(config: Any) -> None:
    """Stop if the config asks for an auxiliary loss of the routers: this training adds none.

    Raises:
        ModelError: it does.
    """
    names = ("router_aux_loss_coef", "router_z_loss_coef", "aux_loss_alpha")
    factors = {name: getattr(config, name, None) for name in names}
    asked = [f"{name}={factor:g}" for name, factor in factors.items() if factor]
    if getattr(config, "output_router_logits", False) and asked:
        raise ModelError(
            f"the model's config asks for an auxiliary loss (output_router_logits=true, {asked[0]})"
            ", and this training has none. Set output_router_logits to false in its config.json to "
            "train without."
        )


def skipped_layers(model: Any) -> str | None:
    """Which setting skips layers at random in training; None: none does."""
    for owner in _owners(model):
        for name, value in vars(owner).items():
            if _LAYER_DROP.search(name) and isinstance(value, float) and value > 0:
                return f"it skips layers at random in training ({name}={value:g})"
    return None


def randomness_of_passes(model: Any, example: TrainingExample) -> str | None:
    """What a pass in training draws for all of its sequences together; None: nothing."""
    if problem := skipped_layers(model):
        return problem
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    was_training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.no_grad(), _without_dropout(model), torch.random.fork_rng(devices):
            model.eval()
            expected = plain_logits(model, example)
            model.train()
            found, other, again = (_drawn(model, example, seed) for seed in (0, 1, 0))
            # Two passes with the same seed may differ too, for example by the order of sums.
            # Then the difference proves nothing.
            if torch.equal(found, again) and not torch.equal(found, other):
                return "in training it draws random numbers other than dropout"
            if not (again - found).norm() <= ROUNDING[found.dtype] * found.norm():
                return "in training a pass changes the results of later ones"
            if not (found - expected).norm() <= TOLERANCES[expected.dtype] * expected.norm():
                return "in training it computes something else, and it is not dropout"
    finally:
        model.train(was_training)
        for name, buffer in model.named_buffers():
            if name in buffers and buffers[name].shape == buffer.shape:
                buffer.copy_(buffers[name])
    return None


def _drawn(model: Any, example: TrainingExample, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return plain_logits(model, example)


def _owners(model: Any) -> Iterator[Any]:
    """All modules, and each of their configs once."""
    seen: set[int] = set()
    for module in model.modules():
        yield module
        config = getattr(module, "config", None)
        if config is not None and id(config) not in seen and hasattr(config, "__dict__"):
            seen.add(id(config))
            yield config


@contextmanager
def _without_dropout(model: Any) -> Iterator[None]:
    """Set every probability of dropout to 0."""
    before: list[tuple[Any, str, float]] = []
    for owner in _owners(model):
        of_module = {"p"} if isinstance(owner, torch.nn.modules.dropout._DropoutNd) else set()
        for name, value in list(vars(owner).items()):
            is_dropout = name in of_module or _DROPOUT.search(name)
            if is_dropout and isinstance(value, float) and value > 0:
                before.append((owner, name, value))
                setattr(owner, name, 0.0)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
