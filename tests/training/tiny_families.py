"""Random models of each family with a few thousand parameters, and the plain reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers

from atlas.training.examples import TrainingExample

VOCABULARY, WINDOW = (
    120,
    24,
)  # the window is shorter than the sequences, so that families with one must respect it
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = {"head_dim": 8, "sliding_window": WINDOW, "query_pre_attn_scalar": 8}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "mistral": lambda: transformers.MistralConfig(**SHAPE, sliding_window=WINDOW),
    "qwen2": lambda: transformers.Qwen2Config(**SHAPE),
    "qwen3": lambda: transformers.Qwen3Config(**SHAPE, head_dim=8),
    "gemma": lambda: transformers.GemmaConfig(**SHAPE, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(**SHAPE, **HEADS),
    "gemma3": lambda: transformers.Gemma3TextConfig(**SHAPE, **HEADS),
    "phi": lambda: transformers.PhiConfig(**SHAPE),
    "phi3": lambda: transformers.Phi3Config(**SHAPE),
    "smollm3": lambda: transformers.SmolLM3Config(**SHAPE),
}


def tiny(family: str) -> Any:
    """A random model in float64, in training mode, without dropout (Phi's is set to 0)."""
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(FAMILIES[family]()).double().train()


def example(
    seed: int, length: int, prompt: Sequence[int] = (), supervised: float = 0.3
) -> TrainingExample:
    """`prompt`, then `length` random tokens; the last is supervised, the first never."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate(
        [np.asarray(prompt, dtype=np.int64), rng.integers(0, VOCABULARY, length)]
    ).astype(np.int32)
    mask = rng.random(len(ids)) < supervised
    mask[0], mask[-1] = False, True
    return TrainingExample(f"t{seed}", ids, np.where(mask, ids, -100).astype(np.int64))


def nested_examples() -> list[TrainingExample]:
    """Seven sequences: two prompts that nest, a bare prompt, and two unrelated ones."""
    rng = np.random.default_rng(99)
    short = rng.integers(0, VOCABULARY, 40).tolist()
    long = short + rng.integers(0, VOCABULARY, 36).tolist()
    examples = [
        example(1, 12, short),
        example(2, 23, short),
        example(3, 7, long),
        example(4, 17, long),
        example(5, 21),
    ]
    return [*examples, example(6, 0, long), example(7, 5)]


def reference_loss(model: Any, examples: Sequence[TrainingExample]) -> torch.Tensor:
    """Σ −log π, one sequence at a time, from all logits, without any code of the engine."""
    total = torch.zeros((), dtype=torch.float64)
    for one in examples:
        logits = (
            model(input_ids=torch.from_numpy(one.input_ids).long()[None], use_cache=False)
            .logits[0]
            .double()
        )
        log_probs = logits.log_softmax(-1)
        for place in np.flatnonzero(one.labels != -100):
            total = total - log_probs[place - 1, one.labels[place]]
    return total


def with_weights_and_anchors(
    examples: Sequence[TrainingExample], seed: int = 0, share: float = 0.4
) -> list[TrainingExample]:
    """The same examples with random weights, and a share of other tokens held to the base model."""
    rng = np.random.default_rng(seed)
    changed = []
    for one in examples:
        supervised = one.labels != -100
        weights = np.where(supervised, rng.uniform(0.1, 3.0, len(supervised)), 0.0)
        anchored = ~supervised & (rng.random(len(supervised)) < share)
        anchored[:1] = False
        changed.append(replace(one, weights=weights, anchored=anchored))
    return changed


def reference_losses(model: Any, base: Any, examples: Sequence[TrainingExample]) -> torch.Tensor:
    """Σ w · −log π and Σ KL(base ‖ π) from all logits, sequence by sequence, without the engine."""
    total = torch.zeros(2, dtype=torch.float64)
    for one in examples:
        ids = torch.from_numpy(one.input_ids).long()[None]
        log_probs = model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
        with torch.no_grad():
            of_base = base(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
        for place in np.flatnonzero(one.labels != -100):
            weight = 1.0 if one.weights is None else one.weights[place]
            total = total - torch.stack(
                (
                    weight * log_probs[place - 1, one.labels[place]],
                    torch.zeros((), dtype=torch.float64),
                )
            )
        for place in [] if one.anchored is None else np.flatnonzero(one.anchored):
            divergence = (
                of_base[place - 1].exp() * (of_base[place - 1] - log_probs[place - 1])
            ).sum()
            total = total + torch.stack((torch.zeros((), dtype=torch.float64), divergence))
    return total


def shaken(model: Any, scale: float = 0.05) -> Any:
    """The model with every trained parameter moved a little, as training moves it."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += (
                    scale * parameter.abs().max().clamp(min=0.1) * torch.randn_like(parameter)
                )
    return model


def gradients(model: Any, backward: Callable[[], float]) -> tuple[float, dict[str, torch.Tensor]]:
    """What `backward` returns, and every gradient that it left."""
    model.zero_grad()
    loss = backward()
    return loss, {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def assert_same(
    found: tuple[float, dict[str, torch.Tensor]],
    expected: tuple[float, dict[str, torch.Tensor]],
    rtol: float,
) -> None:
    assert abs(found[0] - expected[0]) <= rtol * abs(expected[0])
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        error, scale = (found[1][name] - gradient).abs().max(), gradient.abs().max()
        assert error <= rtol * max(float(scale), 1e-6), f"{name}: {error:.1e} of {scale:.1e}"
