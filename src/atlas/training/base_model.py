"""The model before training: the reference of the KL."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class BaseModel:
    """The model before training.

    For a model with adapters, it is the same model with the adapters turned off. For other models
    it is a frozen copy, which needs as much memory as the model. The copy keeps the model's types,
    so the KL is 0 before the first update.

    Attributes:
        model: the causal LM to run inside `active`.
        is_copy: whether it is a copy.
    """

    def __init__(self, model: Any) -> None:
        # PEFT wraps the model.
        self.is_copy = not hasattr(model, "get_base_model")
        self.model = copy.deepcopy(model).requires_grad_(False).eval() if self.is_copy else model

    @contextmanager
    def active(self) -> Iterator[Any]:
        """Run the base model without gradient and dropout. It uses no random numbers.

        Enter it before a pass of the tuned model whose graph is kept: PEFT also switches
        `requires_grad` of the adapters.
        """
        with torch.no_grad():
            if self.is_copy:
                yield self.model
                return
            was_training = self.model.training
            self.model.eval()
            try:
                with self.model.disable_adapter():
                    yield self.model
            finally:
                self.model.train(was_training)
