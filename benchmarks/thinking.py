"""A template that strips earlier thinking: one example per step against a trunk with branches.

The trajectories are random tokens in the shape of agent chats: a prompt, then observation, thinking
and answer per step. Three steps in ten are supervised, their thinking included. Both ways train the
same examples with the same random Llama through the same engine, one pass, in turn; one has
`shared_prompts` off, the other on. Reported are the processor seconds of forward and backward
passes. The loss shows that both compute the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers

from atlas.training.config import EngineConfig
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.engine.packed_rows import count_row_tokens
from atlas.training.examples import TrainingExample

PROMPT, OBSERVATION, THINKING, ANSWER, SELECTED = (
    438,
    40,
    120,
    30,
    0.3,
)  # tokens; lengths are drawn around them
WAYS = {"one example per step": PARTS[:2] + PARTS[3:], "trunk with branches": PARTS}


def make_trajectories(
    num: int, num_steps: int, vocabulary: int, seed: int
) -> list[list[TrainingExample]]:
    """The examples of each trajectory: one per selected step, its history stripped of thinking."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, vocabulary, PROMPT)
    trajectories = []
    for index in range(num):
        chosen = set(
            rng.choice(num_steps, max(1, int(SELECTED * num_steps)), replace=False).tolist()
        )
        history, examples = prompt, []
        for step in range(num_steps):
            seen, thought, said = (
                rng.integers(0, vocabulary, rng.poisson(mean))
                for mean in (OBSERVATION, THINKING, ANSWER)
            )
            history = np.concatenate([history, seen])
            if step in chosen:
                ids = np.concatenate([history, thought, said]).astype(np.int32)
                labels = np.where(np.arange(len(ids)) < len(history), -100, ids).astype(np.int64)
                examples.append(TrainingExample(str(index), ids, labels))
            history = np.concatenate([history, said])
        trajectories.append(examples)
    return trajectories


def passes_of(
    examples: Sequence[TrainingExample], shares: bool, max_tokens: int
) -> list[list[TrainingExample]]:
    batches = cut_into_micro_batches(
        [one.input_ids for one in examples], max_tokens, share_prompts=shares
    )
    return [[examples[index] for index in batch] for batch in batches]


def train(
    engine: Engine, trajectories: Sequence[Sequence[TrainingExample]], batch: int, max_tokens: int
) -> dict[str, float]:
    """Forward and backward passes over all trajectories, `batch` in an optimizer step."""
    shares = "shared_prompts" in engine.parts
    loss, num_tokens, started = 0.0, 0, time.process_time()
    for start in range(0, len(trajectories), batch):
        examples = [one for of_one in trajectories[start : start + batch] for one in of_one]
        engine.model.zero_grad()
        for inside in passes_of(examples, shares, max_tokens):
            num_tokens += count_row_tokens([one.input_ids for one in inside], shares)
            total = engine.loss(engine.model, inside)
            total.backward()  # type: ignore[no-untyped-call]
            loss += total.item()
    return {"cpu": time.process_time() - started, "tokens": num_tokens, "loss": loss}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trajectories", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=4, help="trajectories of an optimizer step")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--micro-batch-tokens", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("thinking.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    transformers.set_seed(given.seed)
    trajectories = make_trajectories(given.trajectories, given.steps, given.vocabulary, given.seed)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=given.vocabulary,
            hidden_size=given.hidden,
            intermediate_size=round(given.hidden * 2.75),
            num_hidden_layers=given.layers,
            num_attention_heads=given.hidden // 64,
            num_key_value_heads=max(1, given.hidden // 128),
            tie_word_embeddings=True,
        )
    )
    engine = choose_parts(model, EngineConfig()).engine
    turns: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(given.repeats):
        for way, parts in WAYS.items():
            engine.put_in(parts)
            turns[way].append(train(engine, trajectories, given.batch, given.micro_batch_tokens))
    supervised = sum(one.num_supervised_tokens for of_one in trajectories for one in of_one)
    selected = sum(map(len, trajectories))
    print(
        f"{given.trajectories} trajectories of {given.steps} steps, {selected} selected, "
        f"{supervised:,} tokens supervised"
    )
    print(f"{'':24}{'tokens run':>12}{'cpu s':>8}{'ratio':>7}{'loss':>14}")
    results = {
        way: min(figures, key=lambda figure: figure["cpu"]) for way, figures in turns.items()
    }
    first = next(iter(results.values()))
    for way, figure in results.items():
        print(
            f"{way:24}{figure['tokens']:12,.0f}{figure['cpu']:8.1f}"
            f"{first['cpu'] / figure['cpu']:7.2f}{figure['loss']:14.4f}"
        )
    settings = {name: value for name, value in vars(given).items() if name != "out"}
    given.out.write_text(
        json.dumps({"settings": settings, "supervised": supervised, "turns": turns}, indent=2)
        + "\n"
    )


if __name__ == "__main__":
    main()
