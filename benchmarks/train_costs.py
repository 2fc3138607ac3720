"""The operations of each way of `train.py`, and those that loss and gradients need, from shapes."""

from __future__ import annotations

import dataclasses

import numpy as np
from train_data import Chat, Preset, sort_within_steps
from train_ways import PARTS, Way

from atlas.training.config import LoraConfig, TrainConfig
from atlas.training.costs import count_costs
from atlas.training.examples import TrainingExample
from atlas.training.model_shape import ModelShape

# Rows of `count_costs`.
ALL_LOGITS, SUPERVISED_LOGITS, TAIL_CUT = 0, 1, 2
ROW_OF_PART = {"packing": 3, "shared_prompts": 4, "last_layer": 5}


def operations_of(way: Way, preset: Preset, chats: list[Chat], micro_batch_tokens: int) -> float:
    """Of a pass over `chats`, recomputation under gradient checkpointing and padding included."""
    config = TrainConfig(
        model="random",
        micro_batch_size=None if "packing" in way.parts else way.examples,
        gradient_checkpointing=way.checkpointing or preset.checkpointing,
        context_gradient="full" if way.window is None else "stop",
        lora=LoraConfig() if preset.lora else None,
    )
    config = config.model_copy(
        update={
            "engine": config.engine.model_copy(update={"micro_batch_tokens": micro_batch_tokens})
        }
    )
    is_ours = way.kind == "ours"
    examples = [
        _example(chat, cut=is_ours and not way.whole)
        for chat in (sort_within_steps(chats, preset.batch) if way.sort else chats)
    ]
    size = (
        preset.batch if is_ours else min(way.examples, preset.batch)
    )  # what a peer takes into one forward pass stays together
    steps = [examples[start : start + size] for start in range(0, len(examples), size)]
    costs = count_costs(_shape(preset), config, steps)
    if not is_ours:
        row = (
            ROW_OF_PART["packing"]
            if way.padding_free
            else ALL_LOGITS
            if way.logits == "all"
            else SUPERVISED_LOGITS
        )
    elif way.window is not None:
        row = len(costs) - 1
    else:
        row = max(
            [ROW_OF_PART.get(part, TAIL_CUT) for part in way.parts],
            default=SUPERVISED_LOGITS if way.whole else TAIL_CUT,
        )
    return costs[row].operations


def needed_operations(preset: Preset, chats: list[Chat], micro_batch_tokens: int) -> float:
    """Of the engine with all parts, no recomputation: the fewest known for these gradients."""
    way = Way("ours", parts=PARTS)
    return operations_of(
        way, dataclasses.replace(preset, checkpointing=False), chats, micro_batch_tokens
    )


def _example(chat: Chat, cut: bool) -> TrainingExample:
    ids, labels = chat
    end = int(np.flatnonzero(labels != -100)[-1]) + 1 if cut else len(ids)
    return TrainingExample("chat", ids[:end].astype(np.int32), labels[:end].astype(np.int64))


def _shape(preset: Preset) -> ModelShape:
    key_width = preset.hidden // preset.heads * preset.key_heads
    layer_weights = (
        2 * preset.hidden**2 + 2 * preset.hidden * key_width + 3 * preset.hidden * preset.inner
    )
    return ModelShape(
        num_layers=preset.layers,
        hidden=preset.hidden,
        vocabulary=preset.vocabulary,
        query_width=preset.hidden,
        key_width=key_width,
        linear_weights=layer_weights,
        layer_weights=layer_weights,
        layer_outputs=0,  # of memory, which is measured here
        num_parameters=preset.layers * layer_weights + preset.vocabulary * preset.hidden,
    )
