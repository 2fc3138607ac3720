"""Layers that keep only matrix products and attention: the same gradients, bit by bit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atlas.training.base_model import BaseModel
from atlas.training.config import EngineConfig, TrainConfig
from atlas.training.engine import exact_engine, recomputation
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.engine.recomputation import recompute_cheap_operations
from atlas.training.model_shape import measure_shape
from tests.training.tiny_families import (
    FAMILIES,
    SHAPE,
    WINDOW,
    example,
    nested_examples,
    tiny,
    with_weights_and_anchors,
)

EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": WINDOW}
# Modes of a pass between the forward and the backward pass that is looked at.
BETWEEN = ["nothing", "two passes", "other passes", "a pass that fails"]
ALL_KEPT = tuple(part for part in PARTS if part != "recompute")


@pytest.fixture(autouse=True)
def recompute_in_small_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_engine, "is_large_pass", lambda *_: True)


def gradients_of(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    named = module.named_parameters()
    return {name: one.grad.clone() for name, one in named if one.grad is not None}


def assert_identical(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def add_bias(product: Tensor, bias: Tensor) -> Tensor:
    return product.add_(bias)


def multiply(product: Tensor, bias: Tensor) -> Tensor:
    return product.mul_(bias)


def write_a_part(product: Tensor, bias: Tensor) -> Tensor:
    product[:, 1:3] = bias
    return product


class InPlace(nn.Module):
    """A layer with an operation in place on a matrix product, as some experts have."""

    def __init__(self, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(2, 8, 8))
        self.bias = nn.Parameter(torch.randn(8))
        self.change = change

    def forward(self, states: Tensor) -> Tensor:
        product = torch.matmul(states, self.weight[0])
        return (self.change(product, self.bias).tanh() @ self.weight[1]).tanh()


@pytest.mark.parametrize("change", [add_bias, multiply, write_a_part])
def test_a_kept_result_may_be_changed_in_place(change: Callable[[Tensor, Tensor], Tensor]) -> None:
    layer, states = InPlace(change), torch.randn(2, 5, 8)
    expected = gradients_of(layer, layer(states).sum())
    keeping = recompute_cheap_operations(layer, lambda _: True)
    assert_identical(gradients_of(layer, keeping(states).sum()), expected)


def test_a_result_that_is_changed_after_its_layer_stops() -> None:
    inner = nn.Linear(8, 8)

    def forward(states: Tensor) -> tuple[Tensor, Tensor]:
        product = inner(states)
        return product, product.tanh()

    states = torch.randn(3, 8, requires_grad=True)
    contexts = functools.partial(recomputation._contexts, recomputation._KeptResults([]))
    product, activated = checkpoint(forward, states, use_reentrant=False, context_fn=contexts)
    with torch.no_grad():
        product.add_(1.0)
    with pytest.raises(RuntimeError, match="changed in place after its layer"):
        activated.sum().backward()


def test_a_second_backward_pass_stops() -> None:
    layer = InPlace(add_bias)
    loss = recompute_cheap_operations(layer, lambda _: True)(torch.randn(2, 5, 8)).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second backward pass"):
        loss.backward()


class Residual(nn.Module):
    """A layer as most are: it ends with a matrix product that is added to its input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(8, 16, bias=False), nn.Linear(16, 8, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        changed: Tensor = states + self.down(self.up(states).tanh())
        return changed


def test_the_product_at_the_end_of_a_layer_is_neither_kept_nor_computed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    own, taken = recomputation._KeptResults, []

    class Watched(own):  # type: ignore[misc, valid-type]
        def __init__(self, lacked: list[Any]) -> None:
            super().__init__(lacked)
            made.append(self)

        def take(self, operator: Any, run: Callable[[], Any]) -> Any:
            taken.append(operator)
            return super().take(operator, run)

    monkeypatch.setattr(recomputation, "_KeptResults", Watched)
    layer, states = Residual(), torch.randn(5, 8)
    expected = gradients_of(layer, layer(states).sum())
    loss = recompute_cheap_operations(layer, lambda _: True)(states).sum()
    assert [call.is_forgotten for call in made[0]._calls] == [False, True]
    assert_identical(gradients_of(layer, loss), expected)
    assert len(taken) == 1


def test_a_layer_that_needs_the_product_at_its_end_computes_it_again_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, states = InPlace(add_bias), torch.randn(2, 5, 8)
    expected = gradients_of(layer, layer(states).sum())
    keeping = recompute_cheap_operations(layer, lambda _: True)
    forgotten: list[Any] = []
    own = recomputation._KeptResults.forget_last

    def forget_last(kept: Any) -> None:
        forgotten.append(kept)
        own(kept)

    monkeypatch.setattr(recomputation._KeptResults, "forget_last", forget_last)
    for _ in range(3):
        assert_identical(gradients_of(layer, keeping(states).sum()), expected)
    assert len(forgotten) == 1


def model_of(name: str, dtype: torch.dtype) -> Any:
    configs = {
        "gpt_oss": lambda: transformers.GptOssConfig(**(SHAPE | EXPERTS), head_dim=8),
        "mixtral": lambda: transformers.MixtralConfig(**SHAPE, **EXPERTS),
        "dropout": lambda: transformers.PhiConfig(
            **SHAPE, resid_pdrop=0.2, embd_pdrop=0.1, attention_dropout=0.1
        ),
        "gemma2": FAMILIES["gemma2"],
    }
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(configs[name]()).to(dtype).train()


def train(engine: Engine, model: Any, between: str) -> Tensor:
    examples = nested_examples()
    torch.manual_seed(5)
    # The autocast cache of this block holds the casts of all of its passes.
    with torch.autocast("cpu", torch.bfloat16, enabled=model.dtype == torch.float32):
        if between == "two passes":
            return engine.loss(model, examples[:2]) + engine.loss(model, examples[2:])
        loss = engine.loss(model, examples)
        if between == "other passes":
            engine.logits(examples[3:])
            with torch.no_grad():
                engine.loss(model, examples[:2])
        if between == "a pass that fails":
            hook = model.model.layers[1].register_forward_pre_hook(lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                engine.loss(model, examples[:2])
            hook.remove()
    return loss


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("gemma2", torch.float64),
        ("dropout", torch.float64),
        ("gpt_oss", torch.float32),
        ("mixtral", torch.float32),
    ],
)
def test_recomputation_changes_no_bit(name: str, dtype: torch.dtype, between: str) -> None:
    found = []
    for parts in (ALL_KEPT, PARTS):
        model = model_of(name, dtype)
        engine = Engine(model)
        engine.put_in(parts)
        found.append(gradients_of(model, train(engine, model, between)))
    assert_identical(found[1], found[0])


def test_experts_with_biases_and_sinks_have_all_parts() -> None:
    chosen = choose_parts(model_of("gpt_oss", torch.float32), EngineConfig())
    assert (chosen.engine.parts, chosen.left_out) == (PARTS, {})


def test_every_module_is_as_it_was_when_the_parts_are_taken_out() -> None:
    """A forward pass that a wrapper has set, as hooks of accelerate do, is called and stays."""
    model = tiny("llama")
    called: list[Any] = []
    for module in (model, *model.model.layers, model.model.layers[0].self_attn):

        def hooked(*given: Any, own: Any = module.forward, of: Any = module, **options: Any) -> Any:
            called.append(of)
            return own(*given, **options)

        module.forward = hooked
    before = {name: dict(module.__dict__) for name, module in model.named_modules()}
    engine = Engine(model)
    engine.put_in(PARTS)
    gradients_of(model, engine.loss(model, nested_examples()))
    assert set(called) == {model, *model.model.layers, model.model.layers[0].self_attn}
    engine.put_in(())
    for name, module in model.named_modules():
        assert module.__dict__.keys() == before[name].keys(), name
        assert module.__dict__.get("forward") is before[name].get("forward"), name


def test_a_plain_pass_while_rows_are_packed_stops() -> None:
    model = tiny("llama")
    engine = Engine(model)
    engine.put_in(("chunked_loss", "packing"))
    engine.loss(model, [example(1, 20), example(2, 20)])
    # As many tokens as the row had.
    with pytest.raises(RuntimeError, match="without a plan"):
        model(input_ids=torch.arange(40)[None])


def test_a_base_model_with_dynamic_factors_forgets_earlier_lengths_too() -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    config = transformers.LlamaConfig(
        **(SHAPE | {"max_position_embeddings": WINDOW}), rope_parameters=rope
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).double().train()
    engine = choose_parts(model, EngineConfig(), base=BaseModel(model)).engine
    assert engine.one_by_one
    longest_first = sorted(
        with_weights_and_anchors(nested_examples()), key=lambda one: -len(one.input_ids)
    )
    assert engine.losses(model, longest_first)[1] == 0


@pytest.mark.parametrize(
    ("config", "recomputes"),
    [
        (transformers.LlamaConfig(**SHAPE), True),
        (transformers.Lfm2Config(**SHAPE, layer_types=["conv", "conv", "full_attention"]), False),
        (transformers.GPT2Config(vocab_size=120, n_embd=32, n_layer=2, n_head=4), False),
    ],
    ids=["llama", "a convolution", "layers elsewhere"],
)
def test_the_estimate_knows_where_nothing_is_recomputed(
    config: Any, recomputes: bool, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    shape = measure_shape(str(tmp_path), TrainConfig(model=str(tmp_path)))
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert ("recompute" in choose_parts(model, EngineConfig()).engine.parts) == recomputes
    assert (shape.layer_results < shape.layer_outputs) == recomputes
