"""The cost of training: operations with each optimization, computed tokens, and memory.

The cost is computed from the shapes of the model, not measured. It counts matrix multiplications
and attention in the forward and backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atlas.models.local.precision import default_device
from atlas.training.config import TrainConfig
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.engine.packed_rows import PackedRow, count_row_tokens, pack_row
from atlas.training.engine.pass_size import is_large_pass
from atlas.training.examples import TrainingExample
from atlas.training.model_shape import NORMED, ModelShape
from atlas.training.objectives.base import needs_of

# Bytes of a weight in four bits with its share of the scales (QLoRA, arXiv 2305.14314, §3).
FOUR_BITS = 0.516
# Bytes of the interpreter with its libraries before a model is loaded.
LIBRARIES = 500 * 2**20
# What oneDNN adds for products in bf16: code for each shape, and copies of a matrix in its layout.
PRODUCT_CODE = 64 * 2**20
# What is kept lies between what is freed, so the process holds more (SmolLM2-135M, rows of 2,800
# tokens, in fp32 and in bf16).
SCATTERED = 1.4
# Sets of gradients that the checks before a training compare.
COMPARED_GRADIENTS = 3
# Parts of the engine that decide how many tokens a pass runs.
PARTS_OF_ROWS = ("packing", "shared_prompts")
# Examples in a padded forward pass, if the config does not set a number.
COMMON_BATCH = 4

# The examples of one forward pass, and those of each optimizer step.
Batch = Sequence[TrainingExample]
Steps = Sequence[Batch]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one way to compute a pass over the examples.

    Attributes:
        setting: the engine setting that turns on the optimization; None: always on.
    """

    name: str
    setting: str | None
    num_tokens: int
    operations: float


class Load(NamedTuple):
    """The size of a pass: tokens, and pairs of tokens in attention."""

    tokens: int
    pairs: float


def count_costs(shape: ModelShape, config: TrainConfig, steps: Steps) -> list[Cost]:
    """The operations of a plain pass, then with one more optimization each time."""
    size = config.micro_batch_size or COMMON_BATCH
    padded = [
        sorted(step, key=lambda one: len(one.input_ids))[start : start + size]
        for step in steps
        for start in range(0, len(step), size)
    ]
    cut = _padded_load([[len(one.input_ids) for one in batch] for batch in padded])
    whole = _padded_load(
        [[len(one.input_ids) + one.num_tail_tokens for one in batch] for batch in padded]
    )
    unshared_batches = _cut(steps, config, config.engine.packing, False)
    shared_batches = _cut(steps, config, True, True)
    unshared = _load(_row(batch, False).position_ids for batch in unshared_batches)
    shared = _load(_row(batch, True).position_ids for batch in shared_batches)
    supervised = sum(one.num_supervised_tokens for step in steps for one in step)
    anchored = sum(one.num_anchored_tokens for step in steps for one in step)
    forward = shape.num_layers * (
        2.0 * shape.layer_weights * shared.tokens + 4.0 * shape.query_width * shared.pairs
    )
    operations = partial(_operations, shape, config)

    def with_all_savings(anchors: bool) -> float:
        logits = supervised + anchored if anchors else supervised
        if config.gradient_window is None:
            rows = [_row(batch, True, anchors) for batch in shared_batches]
            return operations(shared, logits, _load(row.position_ids[row.kept] for row in rows))
        # The context runs forward only; the live tokens run on top of it.
        rows = [_row(step, True, anchors, config.gradient_window) for step in steps]
        return forward + operations(_load(row.position_ids[row.live] for row in rows), logits)

    rows: list[tuple[str, str | None, Load, float]] = [
        ("padded, logits everywhere", None, whole, operations(whole, whole.tokens)),
        ("logits where something is supervised", None, whole, operations(whole, supervised)),
        ("nothing after the last supervised token", None, cut, operations(cut, supervised)),
        ("no padding", "packing", unshared, operations(unshared, supervised)),
        ("shared prompts once", "shared_prompts", shared, operations(shared, supervised)),
    ]
    if config.gradient_window is None:
        name, setting = "last layer where something is supervised", "last_layer"
        rows.append((name, setting, shared, with_all_savings(False)))
    else:
        name = f"context_gradient {config.context_gradient} (not exact)"
        rows.append((name, None, shared, with_all_savings(False)))
    needs = needs_of(config.objective)
    if needs != "nothing":
        base = forward + 2.0 * supervised * shape.hidden * shape.vocabulary
        if needs == "base_probabilities":
            # Once for each example, whatever the number of epochs.
            visits = [id(one) for step in steps for one in step]
            base *= len(set(visits)) / len(visits)
        name = f"objective {config.objective.name}: the base model at the supervised tokens"
        rows.append((name, None, shared, rows[-1][3] + base))
    if anchored:
        # The base model runs forward, and the tuned one has logits at the anchored tokens too.
        runs_already = needs == "base_distribution"
        of_base = 0.0 if runs_already else forward
        of_base += 2.0 * anchored * shape.hidden * shape.vocabulary
        name = f"KL to the base model at {anchored:,} tokens"
        kept = rows[-1][3] - with_all_savings(False) if needs != "nothing" else 0.0
        rows.append((name, None, shared, with_all_savings(True) + kept + of_base))
    return [Cost(name, setting, run.tokens, number) for name, setting, run, number in rows]


def count_run_tokens(
    steps: Steps, config: TrainConfig, parts: Sequence[str], one_by_one: bool = False
) -> int:
    """Tokens that all forward passes run over with these parts of the engine, padding included.

    It is computed for one process. Several processes divide each step first, and share fewer
    prompts.
    """
    packs, shares = "packing" in parts, "shared_prompts" in parts
    if one_by_one:
        config = config.model_copy(update={"micro_batch_size": 1})
    batches = _cut(steps, config, packs, shares)
    return sum(_num_run_tokens(batch, packs, shares) for batch in batches)


def estimate_memory(
    shape: ModelShape, config: TrainConfig, steps: Steps, precision: str
) -> dict[str, float]:
    """Bytes by name: weights, gradients, optimizer, and activations of the largest pass."""
    trained = shape.adapter_weights or shape.num_parameters
    size = 2 if precision == "bf16" else 4
    packs = config.engine.packing
    shares = packs and config.engine.shared_prompts
    batches = _cut(steps, config, packs, shares)
    tokens = max(_num_run_tokens(batch, packs, shares) for batch in batches)
    # An anchored token has logits of the tuned and of the base model.
    logits = shape.vocabulary * max(
        sum(one.num_supervised_tokens + 2 * one.num_anchored_tokens for one in batch)
        for batch in batches
    )
    if config.engine.chunked_loss:
        from atlas.training.engine.chunked_loss import chunk_logits

        logits = min(logits, chunk_logits(default_device()))
    # Bytes per token. The hidden states and what norms keep of them stay in float32.
    of_input = 4 * shape.hidden
    whole = size * shape.layer_outputs + (4 - size) * NORMED * shape.hidden
    kept = float(shape.num_layers * (whole + of_input))
    if config.gradient_checkpointing:
        kept = whole + shape.num_layers * of_input
    elif config.engine.recompute and is_large_pass(tokens, shape.hidden, shape.num_layers):
        # One layer at a time is whole again.
        of_layer = size * shape.layer_results + (4 - size) * shape.hidden
        kept = SCATTERED * shape.num_layers * of_layer + whole
    is_quantized = config.lora is not None and config.lora.quantize is not None
    in_four_bits = shape.num_layers * shape.linear_weights if is_quantized else 0
    size_of_others = 2 if config.lora and not is_quantized and precision == "bf16" else 4
    base = (shape.num_parameters - in_four_bits) * size_of_others + in_four_bits * FOUR_BITS
    has_anchors = any(one.num_anchored_tokens for step in steps for one in step)
    needs_base = has_anchors or needs_of(config.objective) == "base_distribution"
    has_copy = needs_base and not config.lora
    # The gradient of the head: the sum over all chunks, and that of a chunk.
    of_head = 0 if config.lora else 2 * 4 * shape.vocabulary * shape.hidden
    # Autocast keeps the weights in bf16 too.
    copies = 0 if config.lora or precision != "bf16" else 2 * shape.num_parameters
    on_cpu = default_device() == "cpu"
    libraries = float(LIBRARIES + (precision == "bf16") * PRODUCT_CODE) if on_cpu else 0.0
    weights, gradients = base + shape.adapter_weights * 4, float(trained * 4)
    activations = tokens * kept
    # Logits, their softmax and its gradient, in float32.
    of_logits = float(logits * 12 + of_head)
    checks = libraries + weights + COMPARED_GRADIENTS * gradients + of_head
    if len(batches) == len(steps):
        # With one pass in each step, the gradients come as the activations go.
        gradients = max(0.0, gradients - activations - of_logits)
    found = {
        "libraries": libraries,
        "copy of the base": base if has_copy else 0.0,
        "weights in bf16": float(copies),
        "weights": weights,
        "gradients": gradients,
        "optimizer": float(trained * 8),
        "activations": activations,
        "logits": of_logits,
    }
    found["checks before the training"] = max(0.0, checks - sum(found.values()))
    return {name: size for name, size in found.items() if size}


class SmallerRows(NamedTuple):
    """A smaller `engine.micro_batch_tokens`, with its memory in bytes.

    Attributes:
        more: tokens that it runs beyond those of the config, as a share: rows share fewer prompts.
    """

    micro_batch_tokens: int
    memory: float
    more: float


def try_smaller_rows(
    shape: ModelShape, config: TrainConfig, steps: Steps, precision: str
) -> list[SmallerRows]:
    """Half and a quarter of `engine.micro_batch_tokens`, as far as each saves memory.

    A row is never shorter than its longest example.
    """

    def measure(micro_batch_tokens: int) -> tuple[float, int]:
        engine = config.engine.model_copy(update={"micro_batch_tokens": micro_batch_tokens})
        rows = config.model_copy(update={"engine": engine})
        parts = [name for name in PARTS_OF_ROWS if getattr(engine, name)]
        memory = sum(estimate_memory(shape, rows, steps, precision).values())
        return memory, count_run_tokens(steps, rows, parts)

    size = config.engine.row_tokens
    least, num_tokens = measure(size)
    found = []
    for smaller in (size // 2, size // 4):
        memory, num_run = measure(max(1, smaller))
        if memory < least:
            found.append(SmallerRows(smaller, memory, num_run / num_tokens - 1))
            least = memory
    return found


def _operations(
    shape: ModelShape, config: TrainConfig, run: Load, logits: int, last: Load | None = None
) -> float:
    """Operations of a pass: 2 per weight and token forward, and 4 backward.

    With frozen weights, the backward pass costs as much as the forward pass.

    Args:
        last: the load of the last layer, if it is computed only at supervised positions.
    """
    passes = 2 if config.lora else 3
    recomputed = 1 if config.gradient_checkpointing else 0
    layers = shape.num_layers - (last is not None)
    total = (
        2.0 * (passes + recomputed) * layers * shape.layer_weights * run.tokens
        + 4.0 * (3 + recomputed) * layers * shape.query_width * run.pairs
    )
    if last is not None:
        keys = 2 * shape.hidden * shape.key_width
        # Queries of all tokens are computed forward to reach the keys, and dropped.
        queries = shape.hidden * shape.query_width
        total += (
            2.0 * passes * (keys * run.tokens + shape.layer_weights * last.tokens)
            + 2.0 * queries * run.tokens
            + 4.0 * 3 * shape.query_width * last.pairs
        )
    return total + 2.0 * passes * logits * shape.hidden * shape.vocabulary


def _cut(steps: Steps, config: TrainConfig, packs: bool, shares: bool) -> list[Batch]:
    """The forward passes of all steps."""
    limits = config.engine.row_tokens, config.micro_batch_size
    return [
        [step[index] for index in batch]
        for step in steps
        for batch in cut_into_micro_batches(
            [one.input_ids for one in step], *limits, not packs, shares
        )
    ]


def _num_run_tokens(batch: Batch, packs: bool, shares: bool) -> int:
    tokens = [one.input_ids for one in batch]
    return count_row_tokens(tokens, shares) if packs else len(tokens) * max(map(len, tokens))


def _row(batch: Batch, shares: bool, anchors: bool = False, window: int | None = None) -> PackedRow:
    held = [one.anchors for one in batch] if anchors else None
    return pack_row([(one.input_ids, one.labels) for one in batch], shares, window, held)


def _load(positions: Iterable[NDArray[np.int64]]) -> Load:
    """The load of tokens at these positions of their sequences."""
    loads = [(len(places), float((places + 1).sum())) for places in positions]
    return Load(sum(tokens for tokens, _ in loads), sum(pairs for _, pairs in loads))


def _padded_load(batches: Sequence[Sequence[int]]) -> Load:
    """The load of passes over sequences of these lengths, each as long as the pass's longest."""
    return _load(np.arange(max(lengths)) for lengths in batches for _ in lengths)
