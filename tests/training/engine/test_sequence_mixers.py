"""Layers with a state inside packed rows: the loss and gradients of one sequence at a time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from atlas.errors import ModelError
from atlas.training.base_model import BaseModel
from atlas.training.config import EngineConfig
from atlas.training.engine import exact_engine
from atlas.training.engine.choose_parts import OWN_ATTENTION, choose_parts
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.engine.packed_attention import plan_for
from atlas.training.engine.packed_rows import pack_row
from atlas.training.engine.sequence_mixers import run_by_sequence
from atlas.training.examples import TrainingExample
from tests.training.tiny_families import (
    SHAPE,
    assert_same,
    gradients,
    nested_examples,
    reference_loss,
    reference_losses,
    shaken,
    with_weights_and_anchors,
)

EXACT = 2e-6
# These models compute a part in float32, whatever the type of their weights.
ROUNDED = {"a delta rule": 3e-5}
STATES = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MAMBA = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
}
LINEAR, WHOLE = "linear_attention", "full_attention"
HYBRIDS = {
    "a convolution": transformers.Lfm2Config(**SHAPE, layer_types=["conv", "conv", WHOLE]),
    "a delta rule": transformers.Qwen3_5TextConfig(
        **SHAPE, **STATES, head_dim=8, layer_types=[LINEAR, LINEAR, WHOLE]
    ),
    "a state space": transformers.GraniteMoeHybridConfig(
        **SHAPE, **MAMBA, num_local_experts=0, layer_types=[LINEAR, LINEAR, WHOLE]
    ),
    "both in each layer": transformers.FalconH1Config(**SHAPE, **MAMBA, mamba_d_ssm=64),
    "ALiBi": transformers.BloomConfig(
        vocab_size=120, hidden_size=32, n_layer=2, n_head=4, hidden_dropout=0.0
    ),
}
# Falcon-H1 has the same state space, beside attention.
SLOW = ("a state space",)
names = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in HYBRIDS],
)


def fresh(name: str) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(copy.deepcopy(HYBRIDS[name])).train()


def hybrid(name: str) -> Any:
    # A state starts with small weights.
    return shaken(fresh(name).double(), 0.1)


def expected_of(model: Any, examples: Sequence[TrainingExample]) -> Any:
    return gradients(model, lambda: backward(reference_loss(model, examples)))


def backward(loss: Tensor) -> float:
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def in_rows(
    engine: Engine, model: Any, examples: Sequence[TrainingExample], max_tokens: int = 1000
) -> float:
    """The loss over rows of so many tokens, each with its backward pass."""
    tokens = [one.input_ids for one in examples]
    batches = cut_into_micro_batches(tokens, max_tokens, share_prompts=True)
    return sum(backward(engine.loss(model, [examples[one] for one in batch])) for batch in batches)


@names
def test_a_hybrid_shares_rows_and_prompts_and_trains_as_one_sequence_at_a_time(name: str) -> None:
    model, examples = hybrid(name), nested_examples()
    expected = expected_of(model, examples)
    engine = choose_parts(model, EngineConfig()).engine
    assert {"packing", "shared_prompts"} <= set(engine.parts)
    assert engine.one_by_one is False
    for parts in (engine.parts, ("packing",), ("packing", "shared_prompts")):
        engine.put_in(parts)
        for train in (partial(in_rows, max_tokens=90), in_rows):
            found = gradients(model, partial(train, engine, model, examples))
            assert_same(found, expected, ROUNDED.get(name, EXACT))


@names
def test_layers_that_are_computed_again_find_the_row_of_their_pass(name: str) -> None:
    """Gradient checkpointing, with another pass between forward and backward."""
    model, examples = hybrid(name), nested_examples()
    expected = expected_of(model, examples[:4])
    engine = choose_parts(model, EngineConfig()).engine
    model.activation_checkpointing_enable()

    def train() -> float:
        loss = engine.loss(model, examples[:4])
        engine.logits(examples[4:])
        return backward(loss)

    assert_same(gradients(model, train), expected, ROUNDED.get(name, EXACT))

    def train_in_two_passes() -> float:
        return backward(engine.loss(model, examples[:2]) + engine.loss(model, examples[2:4]))

    assert_same(gradients(model, train_in_two_passes), expected, ROUNDED.get(name, EXACT))


@names
def test_the_base_model_of_a_hybrid_runs_on_the_same_rows(name: str) -> None:
    model, examples = hybrid(name), with_weights_and_anchors(nested_examples())
    base = BaseModel(model)
    shaken(model)
    expected = gradients(
        model, lambda: backward(reference_losses(model, base.model, examples).sum())
    )
    engine = choose_parts(model, EngineConfig(), base=base).engine
    assert "packing" in engine.parts
    found = gradients(model, lambda: backward(engine.losses(model, examples).sum()))
    assert_same(found, expected, ROUNDED.get(name, EXACT))


@pytest.mark.parametrize("name", ["a convolution", "a state space", "ALiBi"])
def test_a_gradient_limited_to_a_window_is_refused_where_a_layer_has_a_state(name: str) -> None:
    with pytest.raises(ModelError, match="Set context_gradient=full"):
        choose_parts(hybrid(name), EngineConfig(), window=5)


@names
def test_a_model_is_as_it_was_when_the_parts_are_taken_out(name: str) -> None:
    model = hybrid(name)
    engine = choose_parts(model, EngineConfig()).engine
    assert [module for module in model.modules() if "forward" in module.__dict__]
    engine.put_in(())
    assert not [module for module in model.modules() if "forward" in module.__dict__]


@names
def test_what_mixes_sequences_is_never_packed_even_with_small_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check before training is the judge: here no mixer follows the row."""
    model = fresh(name)
    monkeypatch.setattr(exact_engine, "put_in_mixers", lambda *_: False)
    chosen = choose_parts(model, EngineConfig())
    assert set(chosen.left_out) - {"recompute"} == {"packing", "shared_prompts", "last_layer"}
    assert chosen.one_by_one is not None


def test_attention_that_is_not_exact_over_a_row_runs_for_each_sequence() -> None:
    """Llama 4 attends within chunks, which only its masks know, and scales by places in a row."""
    torch.manual_seed(0)
    config = transformers.Llama4TextConfig(
        **{**SHAPE, "num_local_experts": 2, "intermediate_size_mlp": 48, "head_dim": 8},
        attention_chunk_size=24,
        floor_scale=20,
        no_rope_layers=[1, 1, 0],
    )
    model = transformers.AutoModelForCausalLM.from_config(config).double().train()
    examples = nested_examples()
    expected = expected_of(model, examples)
    chosen = choose_parts(model, EngineConfig())
    assert chosen.engine.own_attention
    assert chosen.engine.parts == ("chunked_loss", "packing", "recompute")
    assert chosen.left_out["last_layer"] == OWN_ATTENTION
    found = gradients(model, lambda: in_rows(chosen.engine, model, examples))
    assert_same(found, expected, EXACT)


def test_each_sequence_gets_what_is_its_own_and_a_shared_prompt_is_returned_once() -> None:
    prompt = np.arange(40)
    ids = [np.append(prompt, [50, 51]), np.append(prompt, [60, 61, 62]), np.arange(70, 75)]
    row = pack_row([(one, one) for one in ids], share_prompts=True)
    plan = plan_for(row, None, torch.device("cpu"), None, set())
    length = len(row.token_ids)
    hidden = torch.from_numpy(row.token_ids)[None, :, None].double()
    positions = torch.from_numpy(row.position_ids)[None]
    square, by_key = torch.ones(1, 1, length, length), torch.arange(length)[None, None]
    calls = []

    parameter = torch.ones(3)

    def mix(states: Tensor, mask: Tensor, bias: Tensor, options: Any) -> tuple[Any, ...]:
        calls.append((states.flatten().tolist(), mask.shape, bias.shape, options))
        return states.cumsum(1), None, parameter, len(calls)

    options = {"positions": (positions, None), "name": "x", "of": {"mixer": 3}}
    joined, nothing, same, of_sequences = run_by_sequence(
        mix, plan, (hidden,), {"mask": square, "bias": by_key, "options": options}
    )
    assert [states for states, *_ in calls] == [ids[index].tolist() for index in (2, 0, 1)]
    assert [given["positions"][0].tolist() for *_, given in calls] == [
        [list(range(len(ids[index])))] for index in (2, 0, 1)
    ]
    assert [mask[-1] for _, mask, *_ in calls] == [len(ids[index]) for index in (2, 0, 1)]
    assert [bias[-1] for *_, bias, _ in calls] == [len(ids[index]) for index in (2, 0, 1)]
    for index, (_, places) in zip((2, 0, 1), plan.sequences, strict=True):
        assert joined[0, places, 0].tolist() == ids[index].cumsum().tolist()
    assert nothing is None
    assert same is parameter
    later: list[int] = []

    def choose(states: Tensor, chosen: int) -> Tensor:
        later.append(chosen)
        return states

    run_by_sequence(choose, plan, (hidden, of_sequences), {})
    assert later == [1, 2, 3], "what a mixer chose is given to later ones, sequence by sequence"


def test_a_bias_that_is_rounded_by_the_place_in_a_row_is_seen() -> None:
    """Falcon's ALiBi is in bf16, which is exact up to 256 tokens: short probes are the same."""
    torch.manual_seed(0)
    config = transformers.FalconConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    chosen = choose_parts(model, EngineConfig())
    assert "rows of 1,024 tokens" in chosen.left_out["packing"]
    assert chosen.one_by_one is not None


def test_a_mixer_that_layers_share_and_a_hook_on_it_are_kept() -> None:
    model = hybrid("a convolution")
    expected = expected_of(model, nested_examples())
    layers, own = model.model.layers, model.model.layers[0].conv.forward
    layers[0].conv.forward = lambda *given, **options: own(*given, **options)
    hooked = layers[0].conv.__dict__["forward"]
    engine = choose_parts(model, EngineConfig()).engine
    found = gradients(model, lambda: in_rows(engine, model, nested_examples()))
    assert_same(found, expected, EXACT)
    engine.put_in(())
    assert layers[0].conv.__dict__["forward"] is hooked
    del layers[0].conv.forward
    layers[1].conv = layers[0].conv
    shared = expected_of(model, nested_examples())
    assert_same(
        gradients(
            model,
            lambda: in_rows(choose_parts(model, EngineConfig()).engine, model, nested_examples()),
        ),
        shared,
        EXACT,
    )


def test_a_mixer_without_a_row_or_with_a_cache_stops() -> None:
    model = hybrid("a convolution").eval()
    engine = Engine(model)
    engine.put_in(PARTS[:2])
    with pytest.raises(RuntimeError, match="whole sequences"):
        engine._decoder(torch.arange(9)[None], use_cache=False)


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT 0.21 under transformers 5.23
@pytest.mark.parametrize("name", [one for one in HYBRIDS if one != "both in each layer"])
def test_adapters_of_a_hybrid_train_in_packed_rows(name: str) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    adapters = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False
    )
    model, examples = peft.get_peft_model(hybrid(name), adapters).double(), nested_examples()
    expected = expected_of(model, examples)
    assert all("lora" in one for one in expected[1])
    model.enable_input_require_grads()
    model.activation_checkpointing_enable()
    engine = choose_parts(model, EngineConfig()).engine
    assert {"packing", "shared_prompts"} <= set(engine.parts)
    found = gradients(model, lambda: in_rows(engine, model, examples))
    assert_same(found, expected, ROUNDED.get(name, EXACT))


def test_a_family_that_cannot_pack_is_not_padded() -> None:
    torch.manual_seed(0)
    config = transformers.OpenAIGPTConfig(vocab_size=120, n_embd=32, n_layer=2, n_head=4)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    chosen = choose_parts(model, EngineConfig())
    assert chosen.engine.parts == ("chunked_loss",)
    assert chosen.one_by_one is not None
    passes: list[torch.Size] = []
    model.transformer.h[0].register_forward_hook(
        lambda _, given, __: passes.append(given[0].shape[:2])
    )
    examples = nested_examples()
    chosen.engine.loss(model, examples)
    assert passes == [(1, len(one.input_ids)) for one in examples]
