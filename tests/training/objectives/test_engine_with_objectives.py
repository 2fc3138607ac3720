"""Each objective under each part of the engine, against NumPy factors and plain logits (float64).

The model has been trained a little, so that it differs from its base. Weights are of both signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from atlas.kinds import Choice
from atlas.training.base_model import BaseModel
from atlas.training.config import EngineConfig
from atlas.training.engine import chunked_loss
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.examples import TrainingExample
from atlas.training.objectives.base import make_objective
from atlas.training.token_loss import TokenLoss
from tests.template_families import family_renderer, with_thinking
from tests.training.engine.test_engine import CHOICES, EXACT, backward
from tests.training.objective_references import (
    SETTINGS,
    VARIANTS,
    between,
    frozen_copy,
    reference_losses,
    with_base_log_probs,
)
from tests.training.test_trunk_and_branches import built, thinking_trajectory
from tests.training.tiny_families import (
    FAMILIES,
    assert_same,
    gradients,
    nested_examples,
    shaken,
    tiny,
    with_weights_and_anchors,
)

KL_WEIGHT = 0.3
Settings = dict[str, Any]
variants = pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda given: str(given))
names = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 16 rows, the smallest."""
    monkeypatch.setattr(chunked_loss, "CHUNK_LOGITS", 1)


def signed(examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    """Random weights, a quarter of them negative, and anchors for a KL."""
    rng = np.random.default_rng(5)
    return [
        replace(one, weights=one.weights * rng.choice([1, 1, 1, -0.5], len(one.weights)))
        for one in with_weights_and_anchors(examples)
        if one.weights is not None
    ]


def make_engine(
    model: Any,
    base: BaseModel,
    name: str,
    settings: Settings,
    parts: Sequence[str] = PARTS,
    window: int | None = None,
) -> Engine:
    wanted = EngineConfig(**{part: part in parts for part in PARTS})
    engine = choose_parts(model, wanted, window, base=base).engine
    expected = [part for part in parts if window is None or part != "last_layer"]
    assert engine.parts == tuple(expected)
    engine.token_loss = TokenLoss(make_objective(Choice(name, settings)))
    return engine


def run(
    engine: Engine,
    model: Any,
    examples: Sequence[TrainingExample],
    max_tokens: int = 10_000,
    kl_weight: float = KL_WEIGHT,
) -> float:
    """The loss and its gradients over as many forward passes as a token budget makes."""
    batches = cut_into_micro_batches(
        [one.input_ids for one in examples], max_tokens, share_prompts=True
    )
    total = 0.0
    for batch in batches:
        loss, divergence = engine.losses(model, [examples[index] for index in batch])
        total += backward(loss + kl_weight * divergence)
    return total


def expected_of(
    model: Any,
    base: Any,
    examples: Sequence[TrainingExample],
    name: str,
    settings: Settings,
    kl_weight: float = KL_WEIGHT,
) -> tuple[float, dict[str, torch.Tensor]]:
    def loss() -> torch.Tensor:
        sums, factors = reference_losses(model, base, examples, name, settings)
        if name in ("eksft", "clip", "mask_low_probability"):
            silenced = sum(factor == 0 for factor in factors)
            assert 0 < silenced < len(factors), "both sides of the limit occur"
        return sums[0] + kl_weight * sums[1]

    return gradients(model, lambda: backward(loss()))


def trained(family: str) -> tuple[Any, BaseModel, Any]:
    """A model after a little training, its base, and a plain copy of the base."""
    model = tiny(family)
    base, plain = BaseModel(model), frozen_copy(model)
    return shaken(model), base, plain


@variants
def test_every_choice_of_parts_has_the_loss_and_gradients_of_the_reference(
    name: str, settings: Settings
) -> None:
    model, base, plain = trained("qwen3")
    examples = with_base_log_probs(plain, signed(nested_examples()))
    settings = between(name, settings, model, plain, examples)
    expected = expected_of(model, plain, examples, name, settings)
    engine = make_engine(model, base, name, settings)
    for parts in ((), *CHOICES):
        engine.put_in(parts)
        assert_same(gradients(model, lambda: run(engine, model, examples)), expected, EXACT)


@names
@pytest.mark.parametrize(
    "family",
    [
        pytest.param("llama", marks=pytest.mark.slow),
        "gemma2",
        pytest.param("phi", marks=pytest.mark.slow),
    ],
)
def test_other_families_have_them_too(name: str, family: str) -> None:
    model, base, plain = trained(family)
    examples = with_base_log_probs(plain, signed(nested_examples()))
    settings = between(name, SETTINGS[name], model, plain, examples)
    expected = expected_of(model, plain, examples, name, settings)
    engine = make_engine(model, base, name, settings)
    assert_same(gradients(model, lambda: run(engine, model, examples)), expected, EXACT)


@names
@pytest.mark.parametrize(
    "parts", [PARTS, pytest.param(PARTS[:1], marks=pytest.mark.slow), ()], ids=len
)
def test_neither_many_micro_batches_nor_gradient_checkpointing_changes_them(
    name: str, parts: Sequence[str]
) -> None:
    model, base, plain = trained("llama")
    examples = with_base_log_probs(plain, signed(nested_examples()))
    settings = between(name, SETTINGS[name], model, plain, examples)
    expected = expected_of(model, plain, examples, name, settings)
    engine = make_engine(model, base, name, settings, parts)
    model.activation_checkpointing_enable()
    assert_same(
        gradients(model, lambda: run(engine, model, examples, max_tokens=90)), expected, EXACT
    )


@names
def test_without_a_kl_the_base_model_runs_for_the_objective_only(name: str) -> None:
    model, base, plain = trained("qwen2")
    examples = with_base_log_probs(
        plain, [replace(one, anchored=None) for one in signed(nested_examples())]
    )
    settings = between(name, SETTINGS[name], model, plain, examples)
    expected = expected_of(model, plain, examples, name, settings)
    objective = make_objective(Choice(name, settings))
    needs_base = objective is not None and objective.needs == "base_distribution"
    engine = choose_parts(model, EngineConfig(), base=base if needs_base else None).engine
    engine.token_loss = TokenLoss(objective)
    assert_same(gradients(model, lambda: run(engine, model, examples)), expected, EXACT)


@names
def test_gradient_through_the_answers_only_is_that_of_the_same_factors(name: str) -> None:
    model, base, plain = trained("llama")
    examples = with_base_log_probs(plain, signed(nested_examples()))
    settings = between(name, SETTINGS[name], model, plain, examples)
    expected = expected_of(model, plain, examples, name, settings)
    wide = make_engine(model, base, name, settings, window=1000)
    assert_same(gradients(model, lambda: run(wide, model, examples)), expected, EXACT)
    wide.put_in(())
    stop = make_engine(model, base, name, settings, window=0)
    loss, stopped = gradients(model, lambda: run(stop, model, examples))
    assert loss == pytest.approx(expected[0], rel=EXACT)
    # The last norm comes after all attention, so it has the whole gradient.
    part = "model.norm.weight"
    torch.testing.assert_close(stopped[part], expected[1][part], rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@names
def test_adapters_have_them_with_the_base_model_below(name: str) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    plain = frozen_copy(tiny("qwen2"))
    model = shaken(peft.get_peft_model(tiny("qwen2"), adapters))
    examples = with_base_log_probs(plain, signed(nested_examples()))
    settings = between(name, SETTINGS[name], model, plain, examples)
    expected = expected_of(model, plain, examples, name, settings)
    assert all("lora" in trained_name for trained_name in expected[1])
    engine = make_engine(model, BaseModel(model), name, settings)
    assert_same(gradients(model, lambda: run(engine, model, examples)), expected, EXACT)


@names
def test_trunk_and_branches_of_a_template_that_rewrites_history_have_them(name: str) -> None:
    renderer = family_renderer("qwen3")
    whole = [thinking_trajectory(5, "a"), with_thinking(thinking_trajectory(3, "b"), "Well")]
    examples = built(renderer, whole, [0, 2, 3]).examples
    config = FAMILIES["qwen3"]()
    config.vocab_size = len(renderer.tokenizer)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).double().train()
    base, plain = BaseModel(model), frozen_copy(model)
    shaken(model)
    known = with_base_log_probs(plain, signed(examples))
    settings = between(name, SETTINGS[name], model, plain, known)
    expected = expected_of(model, plain, known, name, settings)
    engine = make_engine(model, base, name, settings)
    assert_same(gradients(model, lambda: run(engine, model, known)), expected, EXACT)


@names
def test_bf16_keeps_the_loss_and_the_direction_of_the_gradients(name: str) -> None:
    model, base, plain = trained("llama")
    examples = with_base_log_probs(plain, signed(nested_examples()))
    positive = [
        replace(one, weights=abs(one.weights)) for one in examples if one.weights is not None
    ]
    settings = between(name, SETTINGS[name], model, plain, positive)
    expected, exact = expected_of(model, plain, positive, name, settings, 0.0)
    model.float()
    base.model.float()
    engine = make_engine(model, base, name, settings)
    with torch.autocast("cpu", torch.bfloat16):
        loss, rounded = gradients(model, lambda: run(engine, model, positive, kl_weight=0.0))
    # A token at a limit may be on its other side in bf16.
    assert loss == pytest.approx(expected, rel=0.04)
    for parameter, gradient in exact.items():
        cosine = torch.cosine_similarity(
            rounded[parameter].flatten().double(), gradient.flatten(), dim=0
        )
        assert cosine > 0.9, parameter


def test_log_probabilities_of_the_base_are_computed_by_the_engine() -> None:
    model = tiny("llama")
    known = with_base_log_probs(
        model, sorted(nested_examples(), key=lambda one: one.input_ids.tolist())
    )
    engine = Engine(model)
    for parts in ((), *CHOICES):
        engine.put_in(parts)
        for found, one in zip(engine.log_probs(known), known, strict=True):
            assert one.target_base_log_probs is not None
            np.testing.assert_allclose(found.numpy(), one.target_base_log_probs, rtol=1e-6)
