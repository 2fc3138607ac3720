"""Chats and models of `train.py`: ReAct chats like ScienceWorld's gold paths, Llamas by shape."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PROMPT_TOKENS, MAX_TOKENS, SELECTED = 438, 3000, 0.3

Chat = tuple[np.ndarray, np.ndarray]  # token ids and labels, -100 where nothing is supervised


@dataclass(frozen=True, slots=True)
class Preset:
    """A random Llama and the pass over it: `examples` chats after `warm_up` steps of `batch`.

    Attributes:
        folder: a real model instead, with the shape that its config says.
    """

    vocabulary: int
    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    examples: int = 8
    batch: int = 8
    warm_up: int = 0
    lora: bool = False
    checkpointing: bool = False  # ours too: it does not fit the card otherwise
    folder: str | None = None


PRESETS = {
    "tiny": Preset(512, 64, 176, 2, 4, 2, examples=4, batch=2, warm_up=1),
    "small": Preset(16_000, 256, 704, 6, 4, 2),
    "medium": Preset(32_000, 512, 1408, 8, 8, 4),
    "1b": Preset(128_256, 2048, 8192, 16, 32, 8, examples=128, batch=32, warm_up=2),
    "8b": Preset(
        128_256,
        4096,
        14_336,
        32,
        32,
        8,
        examples=64,
        batch=16,
        warm_up=2,
        lora=True,
        checkpointing=True,
    ),
}


def read_preset(folder: str, examples: int) -> Preset:
    """A real Llama in a folder, and a pass over so many chats, as one optimizer step of each 8."""
    config = json.loads((Path(folder) / "config.json").read_text())
    return Preset(
        config["vocab_size"],
        config["hidden_size"],
        config["intermediate_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["num_key_value_heads"],
        examples=examples,
        folder=folder,
    )


def read_chats(file: str) -> list[Chat]:
    """The chats that real_chats.py made."""
    rows = json.loads(Path(file).read_text())
    return [(np.array(row["ids"]), np.array(row["labels"])) for row in rows]


def make_chats(num: int, vocabulary: int, seed: int) -> list[Chat]:
    """Whole chats: a shared prompt, then steps of observation and response, some supervised."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, vocabulary, PROMPT_TOKENS)
    chats = []
    for _ in range(num):
        ids, owner = [prompt], [np.full(PROMPT_TOKENS, -1)]
        num_steps = int(rng.integers(4, 40))
        for step in range(num_steps):
            observation, response = int(rng.lognormal(3.5, 0.5)), int(rng.lognormal(3.3, 0.4))
            if sum(map(len, ids)) + observation + response > MAX_TOKENS:
                num_steps = step
                break
            ids.append(rng.integers(0, vocabulary, observation + response))
            owner.append(np.repeat([-1, step], [observation, response]))
        chosen = rng.choice(num_steps, max(1, int(SELECTED * num_steps)), replace=False)
        tokens = np.concatenate(ids)
        chats.append((tokens, np.where(np.isin(np.concatenate(owner), chosen), tokens, -100)))
    return chats


def sort_within_steps(chats: list[Chat], batch: int) -> list[Chat]:
    """By length, within each optimizer step, so that its examples stay the same."""
    steps = [chats[start : start + batch] for start in range(0, len(chats), batch)]
    return [chat for step in steps for chat in sorted(step, key=lambda chat: len(chat[0]))]
