"""What a pass over the examples costs: floating point operations with each saving in turn, and the memory of its largest step.

Counted, not measured: matrix multiplications and attention of the forward and backward pass, from the model's shapes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.models.local.hub import is_only_cached
from atlas.models.local.load import default_device
from atlas.training.config import TrainConfig
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.engine.packed_rows import PackedRow, count_row_tokens, pack_row
from atlas.training.examples import TrainingExample

FOUR_BITS = 0.516  # bytes of a weight in four bits, its share of the scales included (QLoRA, arXiv 2305.14314, §3)
COMMON_BATCH = 4  # examples of a padded forward pass, where the config names no number


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that costs depend on.

    Attributes:
        linear_weights: entries of the linear maps of one decoder layer, which four bits can hold.
        layer_weights: the same, and those of the experts that one token goes through.
        layer_outputs: entries that one layer keeps for its backward pass, per token.
        adapter_weights: entries of all low-rank adapters; 0 without.
    """

    num_layers: int
    hidden: int
    vocabulary: int
    query_width: int
    key_width: int
    linear_weights: int
    layer_weights: int
    layer_outputs: int
    num_parameters: int
    adapter_weights: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """One way to run a pass: its name, the setting that turns it on (none: always), tokens run and operations."""

    name: str
    setting: str | None
    num_tokens: int
    operations: float


def measure_shape(location: str, config: TrainConfig) -> ModelShape:
    """The shape of the model at `location`, from its config: no weight is read, none is made."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.from_pretrained(location, local_files_only=is_only_cached(location))
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(settings)
    text = settings.get_text_config()
    num_layers, hidden, heads = (
        int(text.num_hidden_layers),
        int(text.hidden_size),
        int(text.num_attention_heads),
    )
    layers = getattr(model.get_decoder(), "layers", None)
    head_width = int(getattr(text, "head_dim", None) or hidden // heads)
    embedding = model.get_input_embeddings().weight.numel()
    linear = [
        module
        for module in (layers[0] if layers else model).modules()
        if isinstance(module, torch.nn.Linear)
    ]
    weights = sum(module.weight.numel() for module in linear)
    outputs = sum(module.in_features + module.out_features for module in linear)
    if (
        not layers
    ):  # an architecture with names of its own: its layers are taken to be all but the embedding
        weights = (
            sum(parameter.numel() for parameter in model.parameters()) - embedding
        ) // num_layers
        outputs = weights // hidden * 2
    experts, active = (
        sum(counts)
        for counts in zip((0, 0), *_experts(layers[0], text) if layers else (), strict=True)
    )
    adapters = config.lora.rank * outputs * num_layers if config.lora else 0
    return ModelShape(
        num_layers=num_layers,
        hidden=hidden,
        vocabulary=int(text.vocab_size),
        query_width=heads * head_width,
        key_width=int(getattr(text, "num_key_value_heads", None) or heads) * head_width,
        linear_weights=weights,
        layer_weights=weights + experts,
        layer_outputs=outputs + active + 4 * hidden,  # norms and residuals
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        adapter_weights=adapters,
    )


def _experts(layer: Any, text: Any) -> Iterator[tuple[int, int]]:
    """(weights, outputs) of each matrix of the experts that a token goes through; they stand side by side, [E, out, in]."""
    routed = int(getattr(text, "num_experts_per_tok", None) or 1)
    for parameter in layer.parameters():
        if parameter.dim() == 3:
            used = min(routed, parameter.shape[0])
            yield (
                used * parameter.shape[1] * parameter.shape[2],
                used * (parameter.shape[1] + parameter.shape[2]),
            )


def count_costs(
    shape: ModelShape, config: TrainConfig, steps: Sequence[Sequence[TrainingExample]]
) -> list[Cost]:
    """The operations of a pass in the common way, then with one saving more each; `steps` are the examples of each optimiser step."""
    size = config.micro_batch_size or COMMON_BATCH
    padded = [
        sorted(step, key=lambda one: len(one.input_ids))[start : start + size]
        for step in steps
        for start in range(0, len(step), size)
    ]
    whole = [max(len(one.input_ids) + one.num_tail_tokens for one in batch) for batch in padded]
    cut = [max(len(one.input_ids) for one in batch) for batch in padded]
    sizes = [len(batch) for batch in padded]
    supervised = sum(one.num_supervised_tokens for step in steps for one in step)
    anchored = sum(one.num_anchored_tokens for step in steps for one in step)
    rows = {
        shares: [_row(batch, shares) for step in steps for batch in _cut(step, config, shares)]
        for shares in (False, True)
    }

    def padded_cost(lengths: list[int], logits: int) -> tuple[int, float]:
        tokens = sum(number * length for number, length in zip(sizes, lengths, strict=True))
        pairs = sum(
            number * length * (length + 1) / 2
            for number, length in zip(sizes, lengths, strict=True)
        )
        return tokens, _operations(shape, config, tokens, pairs, logits)

    def packed_cost(packed: list[PackedRow], prunes: bool, logits: int) -> tuple[int, float]:
        tokens, pairs = _sizes(packed)
        if not prunes:
            return tokens, _operations(shape, config, tokens, pairs, logits)
        kept = sum(len(row.kept) for row in packed)
        kept_pairs = sum(float((row.position_ids[row.kept] + 1).sum()) for row in packed)
        return tokens, _operations(shape, config, tokens, pairs, logits, kept, kept_pairs)

    def forward_cost() -> tuple[int, float]:
        tokens, pairs = _sizes(rows[True])
        return tokens, shape.num_layers * (
            2.0 * shape.layer_weights * tokens + 4.0 * shape.query_width * pairs
        )

    def windowed_cost(
        anchors: bool, logits: int
    ) -> tuple[int, float]:  # the context forward alone, then the live tokens on top of it
        tokens, forward = forward_cost()
        live = [_row(step, True, anchors, config.gradient_window) for step in steps]
        places = sum(len(row.live) for row in live)
        pairs = sum(float((row.position_ids[row.live] + 1).sum()) for row in live)
        return tokens, forward + _operations(shape, config, places, pairs, logits)

    def divergence_cost() -> tuple[
        int, float
    ]:  # the base model forward, and the tuned one at the anchored tokens, too
        held = [_row(batch, True, True) for step in steps for batch in _cut(step, config, True)]
        logits = supervised + anchored
        tokens, tuned = (
            packed_cost(held, True, logits)
            if config.gradient_window is None
            else windowed_cost(True, logits)
        )
        return tokens, tuned + forward_cost()[1] + 2.0 * anchored * shape.hidden * shape.vocabulary

    whole_tokens = sum(number * length for number, length in zip(sizes, whole, strict=True))
    ways = [
        ("padded, logits everywhere", None, padded_cost(whole, whole_tokens)),
        ("logits where something is supervised", None, padded_cost(whole, supervised)),
        ("nothing after the last supervised token", None, padded_cost(cut, supervised)),
        ("no padding", "packing", packed_cost(rows[False], False, supervised)),
        ("shared prompts once", "shared_prompts", packed_cost(rows[True], False, supervised)),
        (
            "last layer where something is supervised",
            "last_layer",
            packed_cost(rows[True], True, supervised),
        ),
    ]
    if config.gradient_window is not None:
        ways[-1] = (
            f"context_gradient {config.context_gradient} (not exact)",
            None,
            windowed_cost(False, supervised),
        )
    if anchored:
        ways.append((f"KL to the base model at {anchored:,} tokens", None, divergence_cost()))
    return [Cost(name, setting, tokens, operations) for name, setting, (tokens, operations) in ways]


def count_run_tokens(
    steps: Sequence[Sequence[TrainingExample]], config: TrainConfig, parts: Sequence[str]
) -> int:
    """Tokens that the forward passes of all optimiser steps run over, padding included, with these parts of the engine.

    Counted for one process: several cut a step among them first, and share less.
    """
    packs, shares = "packing" in parts, "shared_prompts" in parts
    total = 0
    for step in steps:
        tokens = [one.input_ids for one in step]
        for batch in cut_into_micro_batches(
            tokens, config.engine.micro_batch_tokens, config.micro_batch_size, not packs, shares
        ):
            inside = [tokens[index] for index in batch]
            total += (
                count_row_tokens(inside, shares) if packs else len(inside) * max(map(len, inside))
            )
    return total


def estimate_memory(
    shape: ModelShape,
    config: TrainConfig,
    steps: Sequence[Sequence[TrainingExample]],
    precision: str,
) -> dict[str, float]:
    """Bytes of weights, gradients, optimiser and of the activations of the largest forward pass, by name."""
    trained = shape.adapter_weights or shape.num_parameters
    size = 2 if precision == "bf16" else 4
    packs = config.engine.packing
    batches = [
        batch
        for step in steps
        for batch in _cut(step, config, packs and config.engine.shared_prompts)
    ]
    tokens = max(
        len(_row(batch, config.engine.shared_prompts).token_ids)
        if packs
        else len(batch) * max(len(one.input_ids) for one in batch)
        for batch in batches
    )
    # At an anchored token there are logits of the tuned and of the base model.
    logits = max(
        sum(one.num_supervised_tokens + 2 * one.num_anchored_tokens for one in batch)
        for batch in batches
    )
    logits *= shape.vocabulary
    if config.engine.chunked_loss:
        from atlas.training.engine.chunked_loss import chunk_logits

        logits = min(logits, chunk_logits(default_device()))
    kept_layers = 1 if config.gradient_checkpointing else shape.num_layers
    activations = (
        tokens * size * (kept_layers * shape.layer_outputs + shape.num_layers * shape.hidden)
    )
    in_four_bits = (
        shape.num_layers * shape.linear_weights if config.lora and config.lora.quantize else 0
    )
    size_of_others = 2 if config.lora and not config.lora.quantize and precision == "bf16" else 4
    base = (shape.num_parameters - in_four_bits) * size_of_others + in_four_bits * FOUR_BITS
    holds = not config.lora and any(one.num_anchored_tokens for step in steps for one in step)
    copied = {"copy of the base": base} if holds else {}
    return copied | {
        "weights": base + shape.adapter_weights * 4,
        "gradients": trained * 4,
        "optimiser": trained * 8,
        "activations": activations,
        "logits": logits * 12,  # logits, their softmax and its gradient, in float32
    }


def _operations(
    shape: ModelShape,
    config: TrainConfig,
    tokens: int,
    pairs: float,
    logits: int,
    kept: int | None = None,
    kept_pairs: float | None = None,
) -> float:
    """Of a pass: 2 per weight and token forward, twice that backward (once where the weights are frozen)."""
    passes = (2 if config.lora else 3) + (1 if config.gradient_checkpointing else 0)
    attention_passes = 3 + (1 if config.gradient_checkpointing else 0)
    layers = shape.num_layers if kept is None else shape.num_layers - 1
    total = (
        2.0 * passes * layers * shape.layer_weights * tokens
        + 4.0 * attention_passes * layers * shape.query_width * pairs
    )
    if kept is not None and kept_pairs is not None:
        keys = 2 * shape.hidden * shape.key_width
        queries = (
            shape.hidden * shape.query_width
        )  # forward alone: they are computed to reach the keys, and dropped
        total += (
            2.0 * (3 if not config.lora else 2) * (keys * tokens + shape.layer_weights * kept)
            + 2.0 * queries * tokens
        )
        total += 4.0 * 3 * shape.query_width * kept_pairs
    return total + 2.0 * (2 if config.lora else 3) * logits * shape.hidden * shape.vocabulary


def _cut(
    step: Sequence[TrainingExample], config: TrainConfig, shares: bool
) -> list[list[TrainingExample]]:
    tokens = [one.input_ids for one in step]
    batches = cut_into_micro_batches(
        tokens,
        config.engine.micro_batch_tokens,
        config.micro_batch_size,
        not config.engine.packing and not shares,
        shares,
    )
    return [[step[index] for index in batch] for batch in batches]


def _row(
    batch: Sequence[TrainingExample], shares: bool, anchors: bool = False, window: int | None = None
) -> PackedRow:
    held = [one.anchors for one in batch] if anchors else None
    return pack_row(
        [(np.asarray(one.input_ids), one.labels) for one in batch], shares, window, held
    )


def _sizes(rows: Sequence[PackedRow]) -> tuple[int, float]:
    """Tokens, and pairs of a token with one that it attends to."""
    return sum(len(row.token_ids) for row in rows), sum(
        float((row.position_ids + 1).sum()) for row in rows
    )
