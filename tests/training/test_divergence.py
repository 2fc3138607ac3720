"""The KL to the base model beside the cross-entropy, against all logits of both models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.training.base_model import BaseModel
from atlas.training.config import EngineConfig
from atlas.training.engine import chunked_loss
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.examples import TrainingExample
from atlas.training.loss import pad, sum_divergence, sum_losses
from atlas.training.token_loss import Targets, TokenLoss
from tests.training.engine.test_engine import EXACT, backward
from tests.training.tiny_families import (
    FAMILIES,
    VOCABULARY,
    assert_same,
    example,
    gradients,
    nested_examples,
    reference_losses,
    shaken,
    tiny,
    with_weights_and_anchors,
)

BOTH = torch.tensor(
    [1.0, 0.7], dtype=torch.float64
)  # so that the two sums cannot be mistaken for each other


def engine_backward(
    engine: Engine, model: Any, examples: Sequence[TrainingExample], max_tokens: int = 10_000
) -> float:
    """Over as many forward passes as a token budget makes; without parts the plain way."""
    total = 0.0
    for batch in cut_into_micro_batches(
        [one.input_ids for one in examples], max_tokens, share_prompts=True
    ):
        chosen = [examples[index] for index in batch]
        sums = (
            engine.losses(model, chosen)
            if engine.parts
            else sum_losses(model, pad(chosen), TokenLoss(), engine.base)
        )
        total += backward((sums * BOTH.to(sums.dtype)).sum())
    return total


def expected_of(
    model: Any, base: Any, examples: Sequence[TrainingExample]
) -> tuple[float, dict[str, torch.Tensor]]:
    return gradients(
        model, lambda: backward((reference_losses(model, base, examples) * BOTH).sum())
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_each_way_has_the_losses_and_gradients_of_the_plain_reference(family: str) -> None:
    model, examples = tiny(family), with_weights_and_anchors(nested_examples())
    before, base = copy.deepcopy(model), BaseModel(model)
    engine = choose_parts(model, EngineConfig(), base=base).engine
    assert engine.parts == PARTS, "this family knows all of them"
    shaken(model)
    engine.put_in(())
    expected = expected_of(model, before, examples)
    for parts in ((), PARTS[:1], ("packing", "shared_prompts"), PARTS):
        engine.put_in(parts)
        assert_same(
            gradients(model, lambda: engine_backward(engine, model, examples)), expected, EXACT
        )


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT 0.21 under transformers 5.23
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj", "lm_head"]])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_with_adapters_the_base_model_is_the_same_model_without_them(
    targets: Any, checkpointing: bool
) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    before, examples = tiny("qwen2"), with_weights_and_anchors(nested_examples())
    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules=targets, init_lora_weights=False
    )
    model = peft.get_peft_model(copy.deepcopy(before), adapters)
    expected = expected_of(model, before, examples)
    assert all("lora" in name for name in expected[1])
    if checkpointing:
        model.enable_input_require_grads()
        model.activation_checkpointing_enable()
    engine = choose_parts(model, EngineConfig(), base=BaseModel(model)).engine
    for parts in ((), PARTS[:1], PARTS):
        engine.put_in(parts)
        assert_same(
            gradients(model, lambda: engine_backward(engine, model, examples, max_tokens=150)),
            expected,
            EXACT,
        )
    assert not BaseModel(model).is_copy


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT 0.21 under transformers 5.23
def test_the_base_model_neither_drops_out_nor_draws_a_random_number() -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    before, examples = tiny("qwen2"), with_weights_and_anchors(nested_examples())
    for layer in before.model.layers:
        layer.self_attn.attention_dropout = 0.5
    model = peft.get_peft_model(
        before,
        peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.5, target_modules="all-linear"),
    ).train()
    base = BaseModel(model)
    ids = {"input_ids": torch.from_numpy(examples[0].input_ids).long()[None]}
    state = torch.get_rng_state()
    with base.active() as off:
        first, second = off(**ids).logits, off(**ids).logits
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(
        parameter.requires_grad for name, parameter in model.named_parameters() if "lora" in name
    )


def test_a_window_over_everything_is_the_full_gradient_and_none_has_the_same_losses() -> None:
    model, examples = tiny("qwen3"), with_weights_and_anchors(nested_examples())
    before, base = copy.deepcopy(model), BaseModel(model)
    wide = choose_parts(model, EngineConfig(), window=1000, base=base).engine
    parts = wide.parts
    shaken(model)
    wide.put_in(())
    expected, losses = (
        expected_of(model, before, examples),
        reference_losses(model, before, examples).detach(),
    )
    wide.put_in(parts)
    assert_same(gradients(model, lambda: engine_backward(wide, model, examples)), expected, EXACT)
    wide.put_in(())
    none = choose_parts(model, EngineConfig(), window=0, base=base).engine
    torch.testing.assert_close(none.losses(model, examples).detach(), losses, rtol=EXACT, atol=0)


@pytest.mark.parametrize("window", [0, 3])
def test_the_gradient_reaches_the_anchored_tokens_and_the_window_before_each(window: int) -> None:
    model = tiny("qwen2")
    base = BaseModel(model)
    engine = choose_parts(model, EngineConfig(), window=window, base=base).engine
    shaken(model)
    ids = np.arange(10, 40, dtype=np.int32)
    one = TrainingExample(
        "t", ids, np.where(ids >= 36, ids, -100).astype(np.int64), anchored=(ids >= 20) & (ids < 23)
    )
    engine.losses(model, [one]).sum().backward()
    reached = model.get_input_embeddings().weight.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert reached == [*range(19 - window, 22), *range(35 - window, 39)]


lengths = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from([0, 33, 60])), min_size=1, max_size=6
)


@settings(max_examples=25, deadline=None)
@given(
    shapes=lengths,
    seed=st.integers(0, 99),
    max_tokens=st.integers(20, 400),
    supervised=st.sampled_from([0.0, 0.2, 1.0]),
    anchored=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_any_lengths_masks_weights_and_cuts_give_the_reference(
    shapes: list[tuple[int, int]], seed: int, max_tokens: int, supervised: float, anchored: float
) -> None:
    model, before = tiny("llama"), tiny("llama")
    engine = Engine(model, base=BaseModel(model))
    prompt = np.random.default_rng(seed).integers(0, VOCABULARY, 60).tolist()
    examples = [
        example(seed + index % 3, max(length, 2), prompt[:shared], supervised)
        for index, (length, shared) in enumerate(shapes)
    ]
    examples = with_weights_and_anchors(examples, seed, anchored)
    shaken(model)
    expected = expected_of(model, before, examples)
    engine.put_in(PARTS)
    assert_same(
        gradients(model, lambda: engine_backward(engine, model, examples, max_tokens)),
        expected,
        EXACT,
    )


def test_the_divergence_is_zero_before_the_first_update_and_positive_after() -> None:
    model, examples = tiny("gemma2"), with_weights_and_anchors(nested_examples())
    engine = choose_parts(model, EngineConfig(), base=BaseModel(model)).engine
    assert abs(engine.losses(model, examples)[1].item()) < 1e-9
    shaken(model)
    assert engine.losses(model, examples)[1].item() > 0


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT 0.21 under transformers 5.23
@pytest.mark.parametrize("adapters", [False, True])
def test_bf16_autocast_keeps_the_divergence_near_zero_at_first_and_the_direction_of_the_gradients(
    adapters: bool,
) -> None:
    model, examples = tiny("llama").float(), with_weights_and_anchors(nested_examples())
    if adapters:
        peft = pytest.importorskip("peft", reason="the lora extra is not installed")
        model = peft.get_peft_model(
            model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
        )
    engine = choose_parts(model, EngineConfig(), base=BaseModel(model)).engine
    num_anchored = sum(int(one.num_anchored_tokens) for one in examples)
    with torch.autocast(
        "cpu", torch.bfloat16
    ):  # the passes ask at other places, so the kernels round otherwise
        assert abs(engine.losses(model, examples)[1].item()) < 1e-3 * num_anchored
    shaken(model)
    exact = gradients(model, lambda: engine_backward(engine, model, examples))[1]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gradients(model, lambda: engine_backward(engine, model, examples))[1]
    assert rounded.keys() == exact.keys()
    for name, gradient in exact.items():
        assert torch.cosine_similarity(rounded[name].flatten(), gradient.flatten(), dim=0) > 0.95, (
            name
        )


def test_the_base_model_is_the_target_of_the_divergence_not_the_other_way_round() -> None:
    """KL(p ‖ q) by hand: ½ log(½ / ¾) + ½ log(½ / ¼)."""
    of_base, tuned = (
        torch.tensor([[0.5, 0.5]], dtype=torch.float64).log(),
        torch.tensor([[0.75, 0.25]], dtype=torch.float64).log(),
    )
    by_hand = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert sum_divergence(tuned, of_base).item() == pytest.approx(by_hand, rel=1e-12)


def test_without_a_base_model_nothing_is_computed_for_anchored_tokens() -> None:
    model, examples = tiny("llama"), with_weights_and_anchors(nested_examples())
    plain = [replace(one, anchored=None) for one in examples]
    engine = choose_parts(model, EngineConfig()).engine
    seen: list[int] = []
    handle = model.model.layers[-1].mlp.register_forward_hook(
        lambda _, __, output: seen.append(output.numel())
    )
    losses = [engine.losses(model, chosen).tolist() for chosen in (examples, plain)]
    handle.remove()
    assert losses[0] == losses[1]
    assert losses[0][1] == 0
    assert seen[0] == seen[1]


def test_a_step_without_a_supervised_or_without_an_anchored_token_has_a_loss_and_gradients() -> (
    None
):
    model = tiny("llama")
    engine = Engine(model, base=BaseModel(model))
    shaken(model)
    ids = np.arange(5, 25, dtype=np.int32)
    nothing = TrainingExample("t", ids, np.full(20, -100, dtype=np.int64))
    single = TrainingExample("t", ids[:1], np.full(1, -100, dtype=np.int64))
    anchored = replace(nothing, anchored=ids > 15)
    supervised = replace(nothing, labels=np.where(ids > 20, ids, -100).astype(np.int64))
    for chosen in (
        [nothing],
        [single],
        [anchored],
        [supervised],
        [nothing, supervised, single, anchored],
    ):
        engine.put_in(())
        with_loss = [one for one in chosen if one is supervised or one is anchored]
        expected = expected_of(model, tiny("llama"), with_loss or [supervised])
        for parts in ((), PARTS[:1], PARTS):
            engine.put_in(parts)
            loss, found = gradients(
                model, lambda chosen=chosen: engine_backward(engine, model, chosen)
            )
            if with_loss:
                assert_same((loss, found), expected, EXACT)
            else:
                assert loss == 0
                assert found.keys() == expected[1].keys(), (
                    "ranks that train together need a gradient for each parameter"
                )
                assert not any(gradient.any() for gradient in found.values())


class _Head(torch.nn.Module):
    """A head with a bias over a huge vocabulary, in any type."""

    def __init__(self, width: int, vocabulary: int, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.linear = torch.nn.Linear(width, vocabulary, bias=True, dtype=dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.linear(states)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-10), (torch.float32, 1e-4), (torch.bfloat16, 2e-2)]
)
@pytest.mark.parametrize("vocabulary", [37, 200_000])
@pytest.mark.parametrize("autocast", [False, True])
def test_many_chunks_are_one(
    dtype: torch.dtype,
    rtol: float,
    vocabulary: int,
    autocast: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over 50 rows in chunks of 16, with a bias, tied or not, in each type: sums and gradients."""
    if autocast and dtype != torch.float32:
        pytest.skip("autocast is for float32 weights")
    monkeypatch.setattr(chunked_loss, "CHUNK_LOGITS", 1)
    head, base_head = _Head(8, vocabulary, dtype), _Head(8, vocabulary, dtype)
    shaken(head)
    parameters = list(head.parameters())
    rng = torch.Generator().manual_seed(0)
    hidden, base_hidden = (
        torch.randn(50, 8, generator=rng, dtype=torch.float64).to(dtype) for _ in range(2)
    )
    targets, weights = (
        torch.randint(0, vocabulary, (50,), generator=rng),
        torch.rand(50, generator=rng, dtype=torch.float64),
    )

    def at_once(given: torch.Tensor) -> torch.Tensor:
        return TokenLoss()(head(given), Targets(targets, weights)) + 0.7 * sum_divergence(
            head(given), base_head(base_hidden).detach()
        )

    def in_chunks(given: torch.Tensor) -> torch.Tensor:
        first = chunked_loss.sum_chunked_token_loss(
            given, Targets(targets, weights), TokenLoss(), head, parameters, vocabulary
        )
        return first + 0.7 * chunked_loss.sum_chunked_divergence(
            given, base_hidden, head, base_head, parameters, vocabulary
        )

    found = []
    for way in (at_once, in_chunks):
        given = hidden.clone().requires_grad_(True)
        head.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = way(given)
        (3 * loss).backward()  # type: ignore[no-untyped-call]
        found.append([loss.detach(), given.grad, *(parameter.grad for parameter in parameters)])
    for whole, cut in zip(*found, strict=True):
        assert whole.dtype == cut.dtype
        error, scale = (whole - cut).abs().max(), whole.abs().max()
        assert error <= (2e-2 if autocast else rtol) * scale
