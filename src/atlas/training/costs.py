"""What training costs: floating point operations with each saving, tokens run, and memory.

Counted, not measured: matrix multiplications and attention of the forward and backward pass, from
the shapes of the model only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.models.local.load import default_device
from atlas.training.config import TrainConfig
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.engine.packed_rows import PackedRow, count_row_tokens, pack_row
from atlas.training.examples import TrainingExample
from atlas.training.model_shape import ModelShape

# Bytes of a weight in four bits with its share of the scales (QLoRA, arXiv 2305.14314, §3).
FOUR_BITS = 0.516
# Examples of a padded forward pass, if the config names no number.
COMMON_BATCH = 4

# The examples of each optimizer step.
Steps = Sequence[Sequence[TrainingExample]]


@dataclass(frozen=True, slots=True)
class Cost:
    """One way to run a pass over the examples.

    Attributes:
        setting: the engine setting that turns it on; None: always on.
    """

    name: str
    setting: str | None
    num_tokens: int
    operations: float


def count_costs(shape: ModelShape, config: TrainConfig, steps: Steps) -> list[Cost]:
    """The operations of a pass in the common way, then with one more saving each."""
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
    shared_batches = [batch for step in steps for batch in _cut(step, config, True)]
    unshared = [_row(batch, False) for step in steps for batch in _cut(step, config, False)]
    shared = [_row(batch, True) for batch in shared_batches]
    shared_tokens, shared_pairs = _sizes(shared)
    forward = shape.num_layers * (
        2.0 * shape.layer_weights * shared_tokens + 4.0 * shape.query_width * shared_pairs
    )

    def padded_cost(lengths: list[int], logits: int | None) -> tuple[int, float]:
        pairs = list(zip(sizes, lengths, strict=True))
        tokens = sum(number * length for number, length in pairs)
        attended = sum(number * length * (length + 1) / 2 for number, length in pairs)
        all_logits = tokens if logits is None else logits
        return tokens, _operations(shape, config, tokens, attended, all_logits)

    def packed_cost(rows: list[PackedRow], prunes: bool, logits: int) -> tuple[int, float]:
        tokens, pairs = _sizes(rows)
        if not prunes:
            return tokens, _operations(shape, config, tokens, pairs, logits)
        kept = sum(len(row.kept) for row in rows)
        kept_pairs = sum(float((row.position_ids[row.kept] + 1).sum()) for row in rows)
        return tokens, _operations(shape, config, tokens, pairs, logits, (kept, kept_pairs))

    def windowed_cost(anchors: bool, logits: int) -> tuple[int, float]:
        # The context runs forward only; the live tokens run on top of it.
        live = [_row(step, True, anchors, config.gradient_window) for step in steps]
        places = sum(len(row.live) for row in live)
        pairs = sum(float((row.position_ids[row.live] + 1).sum()) for row in live)
        return shared_tokens, forward + _operations(shape, config, places, pairs, logits)

    def divergence_cost() -> tuple[int, float]:
        # The base model runs forward, and the tuned one has logits at the anchored tokens too.
        logits = supervised + anchored
        if config.gradient_window is None:
            held = [_row(batch, True, True) for batch in shared_batches]
            tokens, tuned = packed_cost(held, True, logits)
        else:
            tokens, tuned = windowed_cost(True, logits)
        return tokens, tuned + forward + 2.0 * anchored * shape.hidden * shape.vocabulary

    ways: list[tuple[str, str | None, tuple[int, float]]] = [
        ("padded, logits everywhere", None, padded_cost(whole, None)),
        ("logits where something is supervised", None, padded_cost(whole, supervised)),
        ("nothing after the last supervised token", None, padded_cost(cut, supervised)),
        ("no padding", "packing", packed_cost(unshared, False, supervised)),
        ("shared prompts once", "shared_prompts", packed_cost(shared, False, supervised)),
    ]
    if config.gradient_window is None:
        pruned = packed_cost(shared, True, supervised)
        ways.append(("last layer where something is supervised", "last_layer", pruned))
    else:
        name = f"context_gradient {config.context_gradient} (not exact)"
        ways.append((name, None, windowed_cost(False, supervised)))
    if anchored:
        ways.append((f"KL to the base model at {anchored:,} tokens", None, divergence_cost()))
    return [Cost(name, setting, tokens, operations) for name, setting, (tokens, operations) in ways]


def count_run_tokens(steps: Steps, config: TrainConfig, parts: Sequence[str]) -> int:
    """Tokens that all forward passes run over with these parts of the engine, padding included.

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
            longest = max(map(len, inside))
            total += count_row_tokens(inside, shares) if packs else len(inside) * longest
    return total


def estimate_memory(
    shape: ModelShape, config: TrainConfig, steps: Steps, precision: str
) -> dict[str, float]:
    """Bytes by name: weights, gradients, optimizer, and activations of the largest pass."""
    trained = shape.adapter_weights or shape.num_parameters
    size = 2 if precision == "bf16" else 4
    packs = config.engine.packing
    shares = packs and config.engine.shared_prompts
    batches = [batch for step in steps for batch in _cut(step, config, shares)]
    tokens = max(
        len(_row(batch, config.engine.shared_prompts).token_ids)
        if packs
        else len(batch) * max(len(one.input_ids) for one in batch)
        for batch in batches
    )
    # An anchored token has logits of the tuned and of the base model.
    logits = shape.vocabulary * max(
        sum(one.num_supervised_tokens + 2 * one.num_anchored_tokens for one in batch)
        for batch in batches
    )
    if config.engine.chunked_loss:
        from atlas.training.engine.chunked_loss import chunk_logits

        logits = min(logits, chunk_logits(default_device()))
    kept_layers = 1 if config.gradient_checkpointing else shape.num_layers
    kept = kept_layers * shape.layer_outputs + shape.num_layers * shape.hidden
    is_quantized = config.lora is not None and config.lora.quantize is not None
    in_four_bits = shape.num_layers * shape.linear_weights if is_quantized else 0
    size_of_others = 2 if config.lora and not is_quantized and precision == "bf16" else 4
    base = (shape.num_parameters - in_four_bits) * size_of_others + in_four_bits * FOUR_BITS
    has_copy = not config.lora and any(one.num_anchored_tokens for step in steps for one in step)
    return {
        **({"copy of the base": base} if has_copy else {}),
        "weights": base + shape.adapter_weights * 4,
        "gradients": trained * 4,
        "optimizer": trained * 8,
        "activations": tokens * size * kept,
        # Logits, their softmax and its gradient, in float32.
        "logits": logits * 12,
    }


def _operations(
    shape: ModelShape,
    config: TrainConfig,
    tokens: int,
    pairs: float,
    logits: int,
    kept: tuple[int, float] | None = None,
) -> float:
    """Operations of a pass: 2 per weight and token forward, twice that backward.

    Backward costs only once that if the weights are frozen.

    Args:
        pairs: of a token with one that it attends to.
        kept: tokens and pairs of the last layer, if it computes at supervised positions only.
    """
    forward_and_backward = 2 if config.lora else 3
    recomputed = 1 if config.gradient_checkpointing else 0
    layers = shape.num_layers - (kept is not None)
    total = (
        2.0 * (forward_and_backward + recomputed) * layers * shape.layer_weights * tokens
        + 4.0 * (3 + recomputed) * layers * shape.query_width * pairs
    )
    if kept is not None:
        kept_tokens, kept_pairs = kept
        keys = 2 * shape.hidden * shape.key_width
        # Queries of all tokens are computed forward to reach the keys, and dropped.
        queries = shape.hidden * shape.query_width
        total += (
            2.0 * forward_and_backward * (keys * tokens + shape.layer_weights * kept_tokens)
            + 2.0 * queries * tokens
            + 4.0 * 3 * shape.query_width * kept_pairs
        )
    return total + 2.0 * forward_and_backward * logits * shape.hidden * shape.vocabulary


def _cut(
    step: Sequence[TrainingExample], config: TrainConfig, shares: bool
) -> list[list[TrainingExample]]:
    batches = cut_into_micro_batches(
        [one.input_ids for one in step],
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
    sequences = [(np.asarray(one.input_ids), one.labels) for one in batch]
    return pack_row(sequences, shares, window, held)


def _sizes(rows: Sequence[PackedRow]) -> tuple[int, float]:
    """Tokens, and pairs of a token with one that it attends to."""
    pairs = sum(float((row.position_ids + 1).sum()) for row in rows)
    return sum(len(row.token_ids) for row in rows), pairs
