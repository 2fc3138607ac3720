"""Chats and models of `train.py`: ReAct chats like ScienceWorld's gold paths, Llamas by shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PROMPT_TOKENS, MAX_TOKENS, SELECTED = 438, 3000, 0.3

Chat = tuple[np.ndarray, np.ndarray]  # token ids and labels, -100 where nothing is supervised


@dataclass(frozen=True, slots=True)
class Preset:
    """A random Llama and the pass over it: `examples` chats after `warm_up` steps of `batch`."""

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
