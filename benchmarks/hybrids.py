"""What packed rows bring to models whose layers keep a state (convolutions, delta rules, Mamba).

    python benchmarks/hybrids.py [--families lfm2 qwen3_5_text] [--examples 8] [--repetitions 3]

Trains one pass over the chats of `train.py` with a random model of its shape `small` and the layers
of a family: each sequence in a separate pass, then in packed rows, then with shared prompts and a
pruned last layer. The ways are measured in turn, in processor seconds of forward and backward
passes; the fastest turn counts. Loss and gradient norm show that all ways compute the same. Without
the kernels of a GPU, transformers computes these layers with PyTorch.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from train_data import PRESETS, make_chats

from atlas.training.config import EngineConfig
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import Engine
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.examples import TrainingExample

LINEAR, WHOLE = "linear_attention", "full_attention"
MAMBA = {"mamba_n_heads": 16, "mamba_d_head": 32, "mamba_d_state": 64, "mamba_n_groups": 1}
DELTA = {
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 4),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 64),
}
# Two layers of three have a state, and the last one attends, as in the published models.
FAMILIES: dict[str, dict[str, Any]] = {
    "lfm2": {"layer_types": ["conv", "conv", WHOLE] * 2},
    "qwen3_5_text": {**DELTA, "head_dim": 64, "layer_types": [LINEAR, LINEAR, WHOLE] * 2},
    "granitemoehybrid": {
        **MAMBA,
        "num_local_experts": 0,
        "shared_intermediate_size": 704,
        "layer_types": [LINEAR, LINEAR, WHOLE] * 2,
    },
}
ALONE = "each sequence in a separate pass"
WAYS: dict[str, tuple[str, ...]] = {
    ALONE: ("chunked_loss",),
    "packed rows": ("chunked_loss", "packing"),
    "+ shared prompts": ("chunked_loss", "packing", "shared_prompts"),
    "+ last layer": ("chunked_loss", "packing", "shared_prompts", "last_layer"),
}


def make_model(family: str) -> Any:
    shape = PRESETS["small"]
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        **FAMILIES[family],
    )
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).float().train()


def make_examples(num: int) -> list[TrainingExample]:
    """Chats up to their last supervised token."""
    made = []
    for ids, labels in make_chats(num, PRESETS["small"].vocabulary, 0):
        end = int(np.flatnonzero(labels != -100)[-1]) + 1
        made.append(
            TrainingExample("chat", ids[:end].astype(np.int32), labels[:end].astype(np.int64))
        )
    return made


def train(
    engine: Engine, model: Any, examples: Sequence[TrainingExample], row_tokens: int
) -> tuple[float, float, float]:
    """Processor seconds, loss per token and gradient norm of one pass."""
    model.zero_grad()
    packs, shares = "packing" in engine.parts, "shared_prompts" in engine.parts
    tokens = [one.input_ids for one in examples]
    batches = cut_into_micro_batches(tokens, row_tokens, None if packs else 1, share_prompts=shares)
    started, total = time.process_time(), 0.0
    for batch in batches:
        loss = engine.loss(model, [examples[index] for index in batch])
        torch.autograd.backward(loss)
        total += float(loss.detach())
    seconds = time.process_time() - started
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    norm = float(torch.stack([one.norm() for one in gradients]).norm())
    return seconds, total / sum(one.num_supervised_tokens for one in examples), norm


def measure(family: str, given: argparse.Namespace) -> None:
    model, examples = make_model(family), make_examples(given.examples)
    longest = max(len(one.input_ids) for one in examples)
    chosen = choose_parts(model, EngineConfig(), longest=longest)
    engine = chosen.engine
    usable = {name: parts for name, parts in WAYS.items() if set(parts) <= set(engine.parts)}
    fastest: dict[str, tuple[float, float, float]] = {}
    for _ in range(given.repetitions):
        for name, parts in usable.items():
            engine.one_by_one = name == ALONE
            engine.put_in(parts)
            turn = train(engine, model, examples, given.micro_batch_tokens)
            fastest[name] = min(turn, fastest.get(name, turn))
    print(f"{family:34}{'seconds':>9}{'ratio':>7}{'loss':>10}{'grad norm':>11}")
    for name, (seconds, loss, norm) in fastest.items():
        ratio = fastest[ALONE][0] / seconds
        print(f"{name:34}{seconds:9.2f}{ratio:7.2f}{loss:10.5f}{norm:11.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--examples", type=int, default=8, help="chats of a pass")
    parser.add_argument("--repetitions", type=int, default=3, help="turns; the fastest counts")
    parser.add_argument("--micro-batch-tokens", type=int, default=4096, help="tokens of a row")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for family in given.families:
        measure(family, given)


if __name__ == "__main__":
    main()
