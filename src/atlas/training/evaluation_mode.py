"""Passes in evaluation mode that leave a model as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Run `model` without dropout. Afterwards its mode and its weights are those from before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        restore_weights(model)
        model.train(was_training)


def restore_weights(model: Any) -> None:
    """Give the model the weights of training, in training mode.

    RWKV divides weights by powers of 2 in its first pass in evaluation mode and multiplies them at
    its next pass in training mode. Weights that are saved, compared or loaded between the two would
    be wrong.
    """
    model.train()
    for module in model.modules():
        if hasattr(module, "_rescale_layers"):
            module._rescale_layers()
