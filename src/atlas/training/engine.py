"""The exact engine: the same loss and the same gradients as the plain path, at the cost of what is supervised.

Its parts (rows without padding, prompts shared, the last layer pruned, cross-entropy in chunks) are put into a model from
outside, through transformers' own interfaces, and can be taken out again. `choose_parts.py` finds out which a model knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from atlas.training.chunked_loss import sum_chunked_cross_entropy
from atlas.training.context_gradient import run_live
from atlas.training.device_arrays import to_device
from atlas.training.examples import TrainingExample
from atlas.training.flash_kernels import kernels_for
from atlas.training.last_layer import prune_layer, restore_layer
from atlas.training.loss import pad, predicting_places, sum_of
from atlas.training.packed_attention import IMPLEMENTATION, plan_all, plan_for, register
from atlas.training.packed_rows import pack_row

PARTS = ("chunked_loss", "packing", "shared_prompts", "last_layer")


@dataclass(frozen=True, slots=True)
class Supervised:
    """Where the loss is: `kept` (shape [K], places in the flat hidden states), and for each target the one that predicts it."""

    kept: torch.Tensor
    kept_of_target: torch.Tensor
    targets: torch.Tensor


class Engine:
    """A causal LM with parts of the engine in it, as `put_in` says.

    Attributes:
        parts: those in use, of PARTS.
        model: the causal LM, without what PEFT wraps around it.
        window: tokens before each supervised one through which the gradient goes, if not through all; needs the part `packing`
            and makes `last_layer` needless.
        uses_flash: whether attention over packed rows goes through a flash kernel where the device has one.
        ways: the names of the ways of attention over packed rows that were used so far.
    """

    def __init__(self, model: Any, window: int | None = None) -> None:
        self.parts: tuple[str, ...] = ()
        self.window = window
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT wraps the model
        self._decoder = self.model.get_decoder()
        self._implementation = self.model.config._attn_implementation
        self._plain_forward = self.model.forward
        self.uses_flash = True
        self.ways: set[str] = set()

    def loss(self, model: Any, examples: Sequence[TrainingExample]) -> torch.Tensor:
        """Σ −log π over the supervised tokens of one micro-batch; `model` is the model as a Trainer has wrapped it."""
        inputs = self._inputs(examples)
        return model(**inputs)  # type: ignore[no-any-return]

    def hidden_states(self, examples: Sequence[TrainingExample]) -> torch.Tensor:
        """The last hidden states that predict supervised tokens, shape [N, H], in the order of `pack_row`."""
        inputs = self._inputs(examples)
        supervised = inputs.pop("supervised")
        return self._hidden(supervised, **inputs)[supervised.kept_of_target]

    def put_in(self, parts: Sequence[str]) -> None:
        """Let the model have these parts and no others; none leaves it as it was."""
        self.parts = tuple(part for part in PARTS if part in parts)
        layer = self._last_layer()
        if layer is not None:
            restore_layer(layer)
        self.model.__dict__.pop("forward", None)
        packs = "packing" in self.parts
        implementation = IMPLEMENTATION if packs else self._implementation
        if self.model.config._attn_implementation != implementation:
            register()
            self.model.set_attn_implementation(implementation)
        for each in getattr(self._decoder, "layers", None) or ():
            each.__dict__.pop("_can_checkpoint_with_cache", None)
            if self.window is not None and packs:
                each._can_checkpoint_with_cache = True  # the caches of context_gradient.py may be read twice
        if "last_layer" in self.parts:
            if layer is None:
                raise ValueError("its decoder has no list of layers")
            prune_layer(layer)
        if self.parts:
            self.model.forward = self._forward

    def _last_layer(self) -> Any:
        layers = getattr(self._decoder, "layers", None)
        return layers[self.model.config.get_text_config().num_hidden_layers - 1] if layers else None

    def _forward(self, *arguments: Any, supervised: Supervised | None = None, **options: Any) -> Any:
        """Stands in for the model's own forward pass, so that whatever wraps the model (DDP, FSDP, autocast) sees one call."""
        if supervised is None:
            return self._plain_forward(*arguments, **options)
        hidden = self._hidden(supervised, **options)[supervised.kept_of_target]
        head = self.model.get_output_embeddings()
        softcap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)

        def logits_of(states: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = head(states)
            return logits if softcap is None else softcap * torch.tanh(logits / softcap)

        if "chunked_loss" not in self.parts:
            return sum_of(logits_of(hidden), supervised.targets)
        trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
        return sum_chunked_cross_entropy(hidden, supervised.targets, logits_of, trained, self.model.config.get_text_config().vocab_size)

    def _hidden(self, supervised: Supervised, **options: Any) -> torch.Tensor:
        if "live" in options:
            return run_live(self._decoder, **options)[0][supervised.kept]
        hidden: torch.Tensor = self._decoder(use_cache=False, **options).last_hidden_state
        return hidden.flatten(0, 1) if "last_layer" in self.parts else hidden.flatten(0, 1)[supervised.kept]

    def _inputs(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        device = self.model.device
        attention = (device, kernels_for(device) if self.uses_flash else None, self.ways)
        if "packing" not in self.parts:
            batch = pad(examples)
            predicts = predicting_places(batch["labels"])  # found on the host: on a GPU it would wait for their number
            kept = predicts.flatten().nonzero()[:, 0]
            places = (kept, torch.arange(len(kept)), batch["labels"][:, 1:][predicts[:, :-1]])
            supervised = Supervised(*(to_device(tensor.numpy(), device) for tensor in places))
            return {"input_ids": to_device(batch["input_ids"].numpy(), device), "supervised": supervised}
        row = pack_row([(example.input_ids, example.labels) for example in examples], "shared_prompts" in self.parts, self.window)
        kept, kept_of_target, targets, token_ids, position_ids = (
            to_device(array, device) for array in (row.kept, row.kept_of_target, row.targets, row.token_ids, row.position_ids)
        )
        inputs: dict[str, Any] = {
            "input_ids": token_ids[None],
            "position_ids": position_ids[None],
            "plan": plan_all(row, *attention),
            "supervised": Supervised(kept, kept_of_target, targets),
        }
        if self.window is not None:
            kept_of_live = to_device(np.searchsorted(row.live, row.kept), device)
            inputs["supervised"] = Supervised(kept_of_live, kept_of_target, targets)
            inputs |= {"live": to_device(row.live, device), "live_plan": plan_for(row, row.live, *attention)}
        elif "last_layer" in self.parts:
            inputs |= {"kept": kept, "kept_plan": plan_for(row, row.kept, *attention)}
        return inputs
