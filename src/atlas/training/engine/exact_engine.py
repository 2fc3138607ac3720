"""The exact engine: loss and gradients of the plain path, at the cost of what is supervised.

Its parts (rows without padding, shared prompts, a pruned last layer, cross-entropy in chunks, cheap
operations computed again) are put into a model from outside, through transformers' own interfaces,
and can be taken out again.
`choose_parts.py` finds out which parts a model supports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.base_model import BaseModel
from atlas.training.engine.chunked_loss import (
    chunk_logits,
    rows_of_chunk,
    sum_chunked_divergence,
    sum_chunked_token_loss,
)
from atlas.training.engine.context_gradient import run_live
from atlas.training.engine.device_arrays import to_device
from atlas.training.engine.flash_kernels import kernels_for
from atlas.training.engine.last_layer import prune_layer
from atlas.training.engine.model_head import ModelHead, decoder_of
from atlas.training.engine.packed_attention import IMPLEMENTATION, AttentionPlan, plan_for, register
from atlas.training.engine.packed_rows import pack_row
from atlas.training.engine.pass_places import BasePass, Supervised
from atlas.training.engine.pass_size import is_large_pass
from atlas.training.engine.recomputation import recompute_cheap_operations
from atlas.training.engine.replaced_forwards import ReplacedForwards
from atlas.training.engine.row_lengths import forget_lengths
from atlas.training.engine.sequence_mixers import RowInUse, put_in_mixers
from atlas.training.examples import TrainingExample
from atlas.training.loss import (
    pad,
    predicting_places,
    sum_divergence,
    sum_losses,
    target_arrays,
    targets_of,
)
from atlas.training.token_loss import Targets, TokenLoss, log_probs_at

PARTS = ("chunked_loss", "packing", "shared_prompts", "last_layer", "recompute")


class Engine:
    """A causal LM with the parts of the engine that `put_in` sets.

    Attributes:
        parts: the parts in use, from PARTS.
        model: the causal LM, without the wrapper of PEFT.
        window: tokens before each supervised one through which the gradient goes; None: all. It
            needs the part `packing` and replaces `last_layer`.
        uses_flash: whether attention over packed rows uses the flash kernel of the device, if any.
        one_by_one: whether each sequence has a separate forward pass, because in this model its
            neighbors or their lengths would change its result.
        own_attention: whether attention in packed rows is the model's own, run for each sequence,
            instead of one for the row. Then `last_layer` cannot be used.
        ways: names of the attention implementations that packed rows have used so far.
        base: the model before training, if the loss needs it in each pass.
        token_loss: the loss of supervised tokens.
        recomputes_always: whether the part `recompute` applies to small passes too.
        mixes_by_sequence: whether some modules run once for each sequence of a packed row.
    """

    def __init__(
        self, model: Any, window: int | None = None, base: BaseModel | None = None
    ) -> None:
        self.parts: tuple[str, ...] = ()
        self.window = window
        self.base = base
        self.token_loss = TokenLoss()
        self._of_base = Engine(base.model) if base is not None and base.is_copy else self
        # PEFT wraps the model.
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._decoder = decoder_of(self.model)
        self._implementation = self.model.config._attn_implementation
        self._plain_forward = self.model.forward
        self._head = ModelHead(self.model)
        self.one_by_one = False
        self.uses_flash = True
        self.own_attention = False
        self.recomputes_always = False
        self.mixes_by_sequence = False
        self._row = RowInUse()
        self._replaced = ReplacedForwards()
        self.ways: set[str] = set()

    def loss(self, model: Any, examples: Sequence[TrainingExample]) -> Tensor:
        """Σ w · factor · −log π over the supervised tokens of one micro-batch.

        Args:
            model: the model as the Trainer has wrapped it.
        """
        return self.losses(model, examples)[0]

    def losses(self, model: Any, examples: Sequence[TrainingExample]) -> Tensor:
        """The loss and Σ KL to the base model (0 without one) of a micro-batch, shape [2]."""
        if self.one_by_one and len(examples) > 1:
            return torch.stack([self.losses(model, [one]) for one in examples]).sum(0)
        self._forget_lengths()
        if self.parts:
            return model(**self._inputs(examples))  # type: ignore[no-any-return]
        padded = {name: self._put(tensor.numpy()) for name, tensor in pad(examples).items()}
        return sum_losses(model, padded, self.token_loss, self.base)

    def logits(self, examples: Sequence[TrainingExample]) -> list[Tensor]:
        """The logits that predict each example's supervised tokens, shapes [N, V].

        Examples with a common beginning must be neighbors in lexicographic order.
        """
        if self.one_by_one and len(examples) > 1:
            return [self.logits([one])[0] for one in examples]
        self._forget_lengths()
        counts = [one.num_supervised_tokens for one in examples]
        if not self.parts:
            padded = {name: self._put(tensor.numpy()) for name, tensor in pad(examples).items()}
            places = predicting_places(padded["labels"])
            logits = self.model(input_ids=padded["input_ids"], use_cache=False).logits[places]
        else:
            logits = self._head.logits(self._answers(examples)[0])
        return list(logits.split(counts))

    @torch.no_grad()
    def log_probs(self, examples: Sequence[TrainingExample]) -> list[Tensor]:
        """Log π of each example's supervised tokens, shapes [N], in float32 or better.

        Examples are as in `logits`. The logits of all tokens are never in memory together.
        """
        if not self.parts or (self.one_by_one and len(examples) > 1):
            labels = (one.labels[1:][one.labels[1:] != IGNORED_LABEL] for one in examples)
            pairs = zip(map(self._put, labels), examples, strict=True)
            return [log_probs_at(self.logits([one])[0], tokens) for tokens, one in pairs]
        self._forget_lengths()
        hidden, targets = self._answers(examples)
        vocabulary = self.model.config.get_text_config().vocab_size
        rows = rows_of_chunk(chunk_logits(hidden.device.type), vocabulary)
        parts = zip(torch.split(hidden, rows), torch.split(targets.tokens, rows), strict=True)
        found = [log_probs_at(self._head.logits(part), tokens) for part, tokens in parts]
        return list(torch.split(torch.cat(found), [one.num_supervised_tokens for one in examples]))

    def put_in(self, parts: Sequence[str]) -> None:
        """Give the model exactly these parts. With no parts, the model is unchanged.

        Raises:
            ValueError: the model has no list of layers, which `last_layer` and `recompute` need, or
                a layer does not support `recompute`.
        """
        layer, layers = self._last_layer(), list(getattr(self._decoder, "layers", None) or ())
        self.parts = self._checked(parts, layer)
        self._replaced.take_out()
        packs = "packing" in self.parts
        own = self.own_attention or not packs
        implementation = self._implementation if own else IMPLEMENTATION
        if self.model.config._attn_implementation != implementation:
            register()
            self.model.set_attn_implementation(implementation)
        self.mixes_by_sequence = packs and bool(
            put_in_mixers(self._decoder, self._row, self.own_attention, self._replaced)
        )
        for each in layers:
            each.__dict__.pop("_can_checkpoint_with_cache", None)
            if self.window is not None and packs:
                # The caches of context_gradient.py may be read twice.
                each._can_checkpoint_with_cache = True
        if "last_layer" in self.parts:
            self._replaced.put_in(layer, prune_layer(layer, self._row))
        # The backward pass begins with the last layer, so recomputation would save nothing there.
        earlier = [each for each in layers if each is not layer]
        for each in earlier if "recompute" in self.parts else ():
            recomputing = recompute_cheap_operations(each, self._recomputes)
            self._replaced.put_in(each, recomputing)
        if self.parts:
            # It is not a method, because accelerate would bind a method to the model for autocast.
            self._replaced.put_in(self.model, lambda *given, **more: self._forward(*given, **more))
        if self._of_base is not self:
            self._of_base.own_attention = self.own_attention
            self._of_base.put_in(parts)

    def _forget_lengths(self) -> None:
        """Let a pass over one sequence not depend on those before it."""
        if self.one_by_one:
            for engine in {self, self._of_base}:
                forget_lengths(engine.model)

    @staticmethod
    def _checked(parts: Sequence[str], layer: Any) -> tuple[str, ...]:
        if layer is None and not {"last_layer", "recompute"}.isdisjoint(parts):
            raise ValueError("its decoder has no list of layers")
        return tuple(part for part in PARTS if part in parts)

    def _recomputes(self, states: Tensor) -> bool:
        tokens, hidden = states.shape[:-1].numel(), states.shape[-1]
        layers = self.model.config.get_text_config().num_hidden_layers
        return self.recomputes_always or is_large_pass(tokens, hidden, layers)

    def _last_layer(self) -> Any:
        layers = getattr(self._decoder, "layers", None) or ()
        # A few families count their layers differently, or have more layers after the last one.
        number = self.model.config.get_text_config().num_hidden_layers
        return layers[number - 1] if number <= len(layers) else None

    def _forward(
        self,
        *arguments: Any,
        supervised: Supervised | None = None,
        base_pass: BasePass | None = None,
        **options: Any,
    ) -> Any:
        """Replace the model's own forward pass: wrappers (DDP, FSDP, autocast) see one call."""
        if supervised is None:
            # Without a row, attention over packed rows stops.
            self._row.plan = None
            return self._plain_forward(*arguments, **options)
        base_hidden = base_answers = None
        if base_pass is not None:
            base_hidden = self._base_hidden(base_pass)
            if base_pass.base_kept_of_target is not None:
                base_answers = base_hidden[base_pass.base_kept_of_target]
        hidden = self._hidden(supervised.kept, **options)
        logits_of, base_logits_of = self._head.logits, self._of_base._head.base_logits
        of_head = self._head.trained, self.model.config.get_text_config().vocab_size
        answers, chunks = hidden[supervised.kept_of_target], "chunked_loss" in self.parts
        if chunks:
            of_base = (None, None) if base_answers is None else (base_answers, base_logits_of)
            wanted = supervised.targets, self.token_loss, logits_of, *of_head
            loss = sum_chunked_token_loss(answers, *wanted, *of_base)
        else:
            with torch.no_grad():
                base_logits = None if base_answers is None else base_logits_of(base_answers)
            loss = self.token_loss(logits_of(answers), supervised.targets, base_logits)
        if base_pass is None or base_hidden is None:
            return torch.stack((loss, torch.zeros_like(loss)))
        held = hidden[base_pass.kept_of_anchor]
        base_held = base_hidden[base_pass.base_kept_of_anchor]
        if chunks:
            heads = logits_of, base_logits_of
            divergence = sum_chunked_divergence(held, base_held, *heads, *of_head)
        else:
            with torch.no_grad():
                base_logits = base_logits_of(base_held)
            divergence = sum_divergence(logits_of(held), base_logits)
        return torch.stack((loss, divergence))

    def _base_hidden(self, base_pass: BasePass) -> Tensor:
        """The base model's hidden states at the places that its pass keeps."""
        assert self.base is not None
        with self.base.active():
            return self._of_base._hidden(base_pass.base_kept, **base_pass.base_options)

    def _answers(self, examples: Sequence[TrainingExample]) -> tuple[Tensor, Targets]:
        """The hidden states that predict the supervised tokens, shape [N, H], and the tokens."""
        inputs = self._inputs(examples)
        supervised, _ = inputs.pop("supervised"), inputs.pop("base_pass", None)
        return self._hidden(supervised.kept, **inputs)[
            supervised.kept_of_target
        ], supervised.targets

    def _hidden(self, places: Tensor, /, **options: Any) -> Tensor:
        """The last hidden states at these places of the pass, shape [K, H]."""
        # PEFT adds its own options, all None.
        options = {name: option for name, option in options.items() if option is not None}
        self._row.plan = options.get("plan")
        if self.own_attention:
            options.pop("plan", None)
        if "live" in options:
            live = run_live(self._decoder, self._row, **options)
            self._keep_row(live)
            return live[0][places]
        hidden: Tensor = self._decoder(use_cache=False, **options).last_hidden_state
        self._keep_row(hidden)
        flat = hidden.flatten(0, 1)
        return flat if "last_layer" in self.parts else flat[places]

    def _keep_row(self, hidden: Tensor) -> None:
        """Let the layers that gradient checkpointing runs again find the row of this pass."""
        plan = self._row.plan

        def return_to_it(_: Tensor) -> None:
            self._row.plan = plan

        if plan is not None and hidden.requires_grad:
            hidden.register_hook(return_to_it)  # type: ignore[no-untyped-call]

    def _inputs(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        """The arguments of `_forward`: tokens, positions and plans, and where the losses are."""
        if "packing" in self.parts:
            return self._packed_inputs(examples)
        return self._padded_inputs(examples)

    def _put(self, array: NDArray[Any]) -> Tensor:
        return to_device(array, self.model.device)

    def _padded_inputs(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        # Positions are computed on the host, because with a GPU it would wait for their number.
        batch = {name: tensor.numpy() for name, tensor in pad(examples).items()}
        predicts = predicting_places(torch.from_numpy(batch["labels"])).numpy()
        places, anchors = np.flatnonzero(predicts), np.flatnonzero(batch["anchors"])
        kept = places if self.base is None else np.union1d(places, anchors)
        targets = batch["labels"][:, 1:][predicts[:, :-1]]
        tokens = {"input_ids": self._put(batch["input_ids"])}
        inputs: dict[str, Any] = dict(tokens)
        if self.base is not None:
            base_kept = kept if self.token_loss.needs_base_distribution else anchors
            inputs["base_pass"] = self._base_pass(tokens, kept, anchors, base_kept, places)
        of_target = np.searchsorted(kept, places)
        return inputs | {"supervised": self._supervised(kept, of_target, targets, batch)}

    def _supervised(
        self,
        kept: NDArray[np.int64],
        kept_of_target: NDArray[np.int64],
        targets: NDArray[np.int64],
        arrays: Mapping[str, NDArray[Any]],
    ) -> Supervised:
        on_device = {name: self._put(array) for name, array in arrays.items()}
        wanted = targets_of(self._put(targets), on_device)
        return Supervised(self._put(kept), self._put(kept_of_target), wanted)

    def _base_pass(
        self,
        tokens: dict[str, Any],
        kept: NDArray[np.int64],
        anchors: NDArray[np.int64],
        base_kept: NDArray[np.int64],
        of_targets: NDArray[np.int64],
    ) -> BasePass:
        """All but `tokens` are places: kept ones, and what predicts anchored and target tokens."""
        found = np.searchsorted(kept, anchors), base_kept, np.searchsorted(base_kept, anchors)
        made = BasePass(tokens, *map(self._put, found))
        if not self.token_loss.needs_base_distribution:
            return made
        of_target = self._put(np.searchsorted(base_kept, of_targets))
        return replace(made, base_kept_of_target=of_target)

    def _packed_inputs(self, examples: Sequence[TrainingExample]) -> dict[str, Any]:
        def plan(places: NDArray[Any] | None) -> AttentionPlan:
            device = self.model.device
            kernels = kernels_for(device) if self.uses_flash else None
            return plan_for(row, places, device, kernels, self.ways)

        sequences = [(example.input_ids, example.labels) for example in examples]
        anchors = None if self.base is None else [example.anchors for example in examples]
        row = pack_row(sequences, "shared_prompts" in self.parts, self.window, anchors)
        tokens: dict[str, Any] = {
            "input_ids": self._put(row.token_ids)[None],
            "position_ids": self._put(row.position_ids)[None],
            "plan": plan(None),
        }
        inputs, kept = dict(tokens), row.kept
        if self.window is not None:
            kept = np.searchsorted(row.live, row.kept)
            inputs |= {"live": self._put(row.live), "live_plan": plan(row.live)}
        elif "last_layer" in self.parts:
            inputs |= {"kept": self._put(kept), "kept_plan": plan(kept)}
        if self.base is not None:
            anchored = row.kept[row.kept_of_anchor]
            base_kept = np.unique(anchored) if len(anchored) else row.kept[:1]
            if self.token_loss.needs_base_distribution:
                base_kept = row.kept
            if "last_layer" in self.parts:
                tokens |= {"kept": self._put(base_kept), "kept_plan": plan(base_kept)}
            of_targets = row.kept[row.kept_of_target]
            inputs["base_pass"] = self._base_pass(tokens, row.kept, anchored, base_kept, of_targets)
        arrays = target_arrays([examples[index] for index in row.order])
        return inputs | {
            "supervised": self._supervised(kept, row.kept_of_target, row.targets, arrays)
        }
