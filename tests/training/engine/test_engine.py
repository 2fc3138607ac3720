"""Each engine part, and all together, against one sequence at a time with all logits (float64)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.training.config import EngineConfig
from atlas.training.engine import exact_engine
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.engine.flash_kernels import CpuFlash
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.engine.packed_attention import GENERAL
from atlas.training.examples import TrainingExample
from tests.training.tiny_families import (
    FAMILIES,
    SHAPE,
    VOCABULARY,
    assert_same,
    example,
    gradients,
    nested_examples,
    reference_loss,
    tiny,
)

# Norms of most families compute in float32 in a model of any type, and eager attention its
# softmax: hence not 1e-12.
EXACT = 2e-6
CHOICES = [PARTS[:1], ("packing",), ("packing", "shared_prompts"), ("packing", "last_layer"), PARTS]
names = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(autouse=True)
def recompute_in_small_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_engine, "is_large_pass", lambda *sizes: True)


def backward(loss: torch.Tensor) -> float:
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def engine_backward(
    engine: Engine, model: Any, examples: Sequence[TrainingExample], max_tokens: int = 10_000
) -> float:
    """The loss over as many forward passes as a token budget makes."""
    batches = cut_into_micro_batches(
        [one.input_ids for one in examples], max_tokens, share_prompts=True
    )
    return sum(
        backward(engine.loss(model, [examples[index] for index in batch])) for batch in batches
    )


@names
def test_each_part_and_all_together_have_the_loss_and_gradients_of_the_plain_reference(
    family: str,
) -> None:
    model, examples = tiny(family), nested_examples()
    expected = gradients(model, lambda: backward(reference_loss(model, examples)))
    engine = choose_parts(model, EngineConfig()).engine
    assert engine.parts == PARTS, "this family knows all of them"
    for parts in CHOICES:
        engine.put_in(parts)
        assert_same(
            gradients(model, lambda: engine_backward(engine, model, examples)), expected, EXACT
        )


@names
def test_neither_accumulation_nor_gradient_checkpointing_changes_them(family: str) -> None:
    model, examples = tiny(family), nested_examples()
    expected = gradients(model, lambda: backward(reference_loss(model, examples)))
    engine = choose_parts(model, EngineConfig()).engine
    model.activation_checkpointing_enable()
    for parts in (PARTS, PARTS[:1]):
        engine.put_in(parts)
        assert_same(
            gradients(model, lambda: engine_backward(engine, model, examples, max_tokens=90)),
            expected,
            EXACT,
        )


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT 0.21 under transformers 5.23
@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_have_the_same_gradients_under_the_engine(checkpointing: bool) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    model, examples = peft.get_peft_model(tiny("qwen2"), adapters), nested_examples()
    expected = gradients(model, lambda: backward(reference_loss(model, examples)))
    assert all("lora" in name for name in expected[1])
    if checkpointing:
        model.enable_input_require_grads()
        model.activation_checkpointing_enable()
    chosen = choose_parts(model, EngineConfig())
    assert chosen.engine.parts == PARTS
    assert_same(
        gradients(model, lambda: engine_backward(chosen.engine, model, examples)), expected, EXACT
    )


lengths = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from([0, 33, 60])), min_size=1, max_size=6
)


@settings(max_examples=25, deadline=None)
@given(
    shapes=lengths,
    seed=st.integers(0, 99),
    max_tokens=st.integers(20, 400),
    supervised=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_any_lengths_masks_and_budgets_give_the_reference(
    shapes: list[tuple[int, int]], seed: int, max_tokens: int, supervised: float
) -> None:
    model = tiny("llama")
    prompt = np.random.default_rng(seed).integers(0, VOCABULARY, 60).tolist()
    examples = [
        example(seed + index % 3, max(length, 2), prompt[:shared], supervised)
        for index, (length, shared) in enumerate(shapes)
    ]
    expected = gradients(model, lambda: backward(reference_loss(model, examples)))
    engine = Engine(model)
    engine.put_in(PARTS)
    assert_same(
        gradients(model, lambda: engine_backward(engine, model, examples, max_tokens)),
        expected,
        EXACT,
    )


def test_bf16_autocast_keeps_the_loss_and_the_direction_of_the_gradients() -> None:
    model, examples = tiny("llama").float(), nested_examples()
    expected, exact = gradients(model, lambda: backward(reference_loss(model, examples)))
    engine = choose_parts(model, EngineConfig()).engine
    with torch.autocast("cpu", torch.bfloat16):
        loss, rounded = gradients(model, lambda: engine_backward(engine, model, examples))
    assert loss == pytest.approx(expected, rel=0.02)
    assert rounded.keys() == exact.keys()
    for name, gradient in exact.items():
        assert torch.cosine_similarity(rounded[name].flatten(), gradient.flatten(), dim=0) > 0.95, (
            name
        )


def test_logits_and_the_last_layer_are_computed_where_something_is_predicted_and_nowhere_else() -> (
    None
):
    model, examples = tiny("llama"), nested_examples()
    engine = choose_parts(model, EngineConfig()).engine
    seen: dict[str, int] = {"head": 0, "mlp": 0, "embedding": 0}

    def count(name: str) -> Any:
        return lambda _, __, output: seen.update(
            {name: seen[name] + output.numel() // output.shape[-1]}
        )

    handles = [
        model.lm_head.register_forward_hook(count("head")),
        model.model.layers[-1].mlp.register_forward_hook(count("mlp")),
        model.model.embed_tokens.register_forward_hook(count("embedding")),
    ]
    engine.loss(model, examples)
    for handle in handles:
        handle.remove()
    supervised = sum(one.num_supervised_tokens for one in examples)
    assert seen["head"] == supervised
    assert seen["mlp"] < supervised, "a place that several sequences share predicts for all of them"
    assert seen["embedding"] == sum(len(one.input_ids) for one in examples) - 4 * 40 - 2 * 36, (
        "each prompt runs once"
    )


@pytest.mark.parametrize(
    ("config", "left_out"),
    [
        (
            transformers.GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=32,
                n_layer=2,
                n_head=4,
                bos_token_id=1,
                eos_token_id=1,
            ),
            {"last_layer", "recompute"},
        ),
        (transformers.GPTNeoXConfig(**SHAPE), {"last_layer"}),
    ],
    ids=["layers elsewhere", "another cache"],
)
def test_what_an_architecture_does_not_know_stays_out_and_is_named(
    config: Any, left_out: set[str]
) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    examples = nested_examples()
    expected = gradients(model, lambda: backward(reference_loss(model, examples)))
    chosen = choose_parts(model, EngineConfig())
    assert set(chosen.left_out) == left_out
    assert set(chosen.engine.parts) == set(PARTS) - left_out
    if chosen.engine.parts:
        assert_same(
            gradients(model, lambda: engine_backward(chosen.engine, model, examples)),
            expected,
            EXACT,
        )


def test_a_model_is_as_it_was_when_the_parts_are_taken_out() -> None:
    model, ids = tiny("llama").eval(), torch.arange(30)[None]
    before, implementation = model(ids).logits, model.config._attn_implementation
    engine = choose_parts(model, EngineConfig()).engine
    engine.put_in(())
    torch.testing.assert_close(model(ids).logits, before)
    assert model.config._attn_implementation == implementation
    assert "forward" not in model.__dict__
    assert "forward" not in model.model.layers[-1].__dict__


def test_a_part_that_is_not_asked_for_is_not_used() -> None:
    assert choose_parts(tiny("llama"), EngineConfig(packing=False)).engine.parts == (
        "chunked_loss",
        "recompute",
    )
    assert choose_parts(
        tiny("llama"), EngineConfig(shared_prompts=False, chunked_loss=False)
    ).engine.parts == ("packing", "last_layer", "recompute")


def test_flash_attention_is_used_where_a_layer_has_no_window_and_no_cap() -> None:
    for family, ways in (("llama", {CpuFlash.name}), ("mistral", {GENERAL}), ("gemma2", {GENERAL})):
        chosen = choose_parts(tiny(family), EngineConfig())
        assert (chosen.engine.ways, chosen.flash_problem) == (ways, None), family


@pytest.mark.parametrize("method", ["forward", "backward"])
@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (lambda first, *others: (first * 1.5, *others), "would not be the same"),
        (lambda: None, "TypeError: "),
    ],
    ids=["wrong", "fails"],
)
def test_a_flash_kernel_that_is_wrong_or_fails_is_named_and_not_used(
    method: str, broken: Callable[..., Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, examples, right = tiny("llama"), nested_examples(), getattr(CpuFlash, method)
    expected = gradients(model, lambda: backward(reference_loss(model, examples)))
    monkeypatch.setattr(CpuFlash, method, lambda *given: broken(*right(*given)))
    chosen = choose_parts(model, EngineConfig())
    assert chosen.engine.parts == PARTS
    assert chosen.flash_problem is not None
    assert problem in chosen.flash_problem
    assert_same(
        gradients(model, lambda: engine_backward(chosen.engine, model, examples)), expected, EXACT
    )
    assert chosen.engine.ways == {GENERAL}


def test_flash_attention_is_tried_in_the_precision_of_training() -> None:
    assert (
        choose_parts(tiny("llama").float(), EngineConfig(), autocast=torch.bfloat16).flash_problem
        is None
    )
