"""Computes logits from hidden states with the model's own forward pass.

Between its decoder and its logits a model may scale, cap, add a bias or run more layers. This file
copies none of that code: the model's forward pass runs, and its decoder returns the given states.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers.modeling_outputs import MoeModelOutputWithPast


def decoder_of(model: Any) -> Any:
    """The model from token ids to hidden states.

    A few families call their head the decoder, or the whole model.
    """
    head = model.get_output_embeddings()
    candidates = (model.get_decoder(), model.base_model, getattr(model, "model", None))
    fitting = (one for one in candidates if one is not None and one not in (model, head))
    return next(fitting, candidates[0])


class ModelHead:
    """What a causal LM does after its decoder.

    Attributes:
        trained: the trained parameters that this may reach: those of the output embeddings, and
            those outside the decoder.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._forward = model.forward
        self._decoder = decoder_of(model)
        self._embeddings = model.get_output_embeddings()

    @property
    def trained(self) -> list[Tensor]:
        inside = {id(one) for one in self._decoder.parameters()}
        outside = (one for one in self._model.parameters() if id(one) not in inside)
        of_head = () if self._embeddings is None else self._embeddings.parameters()
        found = {id(one): one for one in (*of_head, *outside) if one.requires_grad}
        return list(found.values())

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [N, V] of hidden states [N, H]."""
        states = hidden[None]
        # A family may read anything from its decoder's output; what is absent is None.
        given = _Given(last_hidden_state=states)
        places = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        with _in_place_of(self._decoder, lambda *_, **__: given), _as_function(self._embeddings):
            logits: Tensor = self._forward(input_ids=places, use_cache=False).logits
        return logits[0]

    def base_logits(self, hidden: Tensor) -> Tensor:
        """The same without adapters on the output embeddings."""
        head = self._embeddings
        if not hasattr(head, "get_base_layer"):
            return self.logits(hidden)
        with _in_place_of(head, head.get_base_layer().forward):
            return self.logits(hidden)


class _Given(MoeModelOutputWithPast):
    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextmanager
def _in_place_of(module: Any, forward: Any) -> Iterator[None]:
    """Let `module` run `forward` when it is called."""
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        with _as_function(module):
            yield
    finally:
        module.__dict__.pop("forward")
        if own is not None:
            module.__dict__["forward"] = own


@contextmanager
def _as_function(module: Any) -> Iterator[None]:
    """Call a module without the hooks of FSDP.

    They would treat the gradients of one chunk as the end of the backward pass. They also gather
    its weights, which is done here, unless another module of its group has done it.
    """
    if not isinstance(module, FSDPModule):
        yield
        return
    module.unshard()
    names = ("_forward_pre_hooks", "_forward_hooks")
    hooks = {name: module.__dict__[name] for name in names}
    module.__dict__.update({name: OrderedDict() for name in names})
    try:
        yield
    finally:
        module.__dict__.update(hooks)
