"""The model as it was before training: what the KL holds the tuned model to."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class BaseModel:
    """Of a model with adapters, itself with them switched off; of any other, a frozen copy, made now, as large as the model.

    The copy has the model's own types, so that before the first update the KL is 0.

    Attributes:
        model: the causal LM to run inside `active`.
        is_copy: whether it is one.
    """

    def __init__(self, model: Any) -> None:
        self.is_copy = not hasattr(model, "get_base_model")  # PEFT wraps the model
        self.model = copy.deepcopy(model).requires_grad_(False).eval() if self.is_copy else model

    @property
    def head(self) -> Any:
        """What makes logits of its hidden states; usable outside `active`."""
        head = self.model.get_output_embeddings()
        return (
            head.get_base_layer() if hasattr(head, "get_base_layer") else head
        )  # with adapters on it

    @contextmanager
    def active(self) -> Iterator[Any]:
        """Yields the base model, which computes without gradient and without dropout, and draws no random number.

        Enter it before a pass of the tuned model whose graph is to be kept: PEFT switches the adapters' requires_grad, too.
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
