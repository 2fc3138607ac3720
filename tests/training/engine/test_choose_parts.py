"""What the choice of parts must see: leaks, forgotten parameters, other logits, lengths."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from atlas.errors import ModelError
from atlas.training.config import EngineConfig
from atlas.training.engine import exact_engine
from atlas.training.engine.checks.probes import MARGIN, long_probes, longest_named
from atlas.training.engine.checks.weights import enlarged_weights
from atlas.training.engine.choose_parts import ChosenEngine, choose_parts
from atlas.training.engine.exact_engine import PARTS
from tests.training.tiny_families import (
    SHAPE,
    WINDOW,
    assert_same,
    gradients,
    nested_examples,
    reference_loss,
    tiny,
)

EXACT = 2e-6
ROWS = {"packing", "shared_prompts", "last_layer"}
ALL_BUT_LOSS = set(PARTS) - {"chunked_loss"}
SMALL = {**SHAPE, "initializer_range": 0.02}
ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": 64}
LONGROPE = {
    **ROPE,
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 4.0, 8.0, 16.0],
}


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).double().train()


def is_plain_training(model: Any, chosen: ChosenEngine) -> None:
    """The chosen engine has the loss and the gradients of one sequence at a time."""
    examples, parts = nested_examples(), chosen.engine.parts
    chosen.engine.put_in(())
    expected = gradients(model, lambda: run(reference_loss(model, examples)))
    chosen.engine.put_in(parts)
    found = gradients(model, lambda: run(chosen.engine.loss(model, examples)))
    assert_same(found, expected, EXACT)


def run(loss: Tensor) -> float:
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


@pytest.mark.parametrize(
    ("size", "is_constant"), [(1e-2, False), (1e-6, False), (1e-6, True), (1e-10, False)]
)
def test_a_leak_between_sequences_is_seen_however_small_it_is(
    size: float, is_constant: bool
) -> None:
    model = tiny("llama").float()

    def leak(_: Any, __: Any, output: Tensor) -> Tensor:
        state = size * output.cumsum(1)
        return output + (state.detach() if is_constant else state)

    model.model.layers[0].register_forward_hook(leak)
    chosen = choose_parts(model, EngineConfig())
    assert set(chosen.left_out) == ROWS
    assert size > 1e-4 or "neighbors in a row" in chosen.left_out["packing"]
    is_plain_training(model.double(), chosen)


def test_a_parameter_that_a_part_forgets_is_seen_even_where_it_changes_nothing_yet() -> None:
    def attend(module: Any, query: Tensor, *others: Any, **options: Any) -> Any:
        return sdpa_attention_forward(module, query * (1 + module.extra), *others, **options)

    transformers.AttentionInterface.register("with_a_parameter", attend)
    transformers.AttentionMaskInterface.register(
        "with_a_parameter", transformers.masking_utils.sdpa_mask
    )
    model = tiny("llama")
    model.set_attn_implementation("with_a_parameter")
    for layer in model.model.layers:
        layer.self_attn.extra = nn.Parameter(torch.zeros((), dtype=torch.float64))
    chosen = choose_parts(model, EngineConfig())
    assert chosen.engine.own_attention
    assert "last_layer" in chosen.left_out
    is_plain_training(model, chosen)


@pytest.mark.parametrize(
    "config",
    [
        transformers.GraniteConfig(**SMALL, logits_scaling=8.0),
        transformers.CohereConfig(**SMALL, logit_scale=0.0625),
        transformers.Gemma2Config(
            **SHAPE, head_dim=8, final_logit_softcapping=0.5, sliding_window=WINDOW
        ),
    ],
    ids=["divided", "multiplied", "capped"],
)
def test_what_a_model_does_to_its_logits_is_kept_with_all_parts(config: Any) -> None:
    model = model_of(config)
    chosen = choose_parts(model, EngineConfig())
    assert chosen.engine.parts == PARTS
    is_plain_training(model, chosen)


def test_parameters_between_decoder_and_logits_are_trained() -> None:
    class Scaled(transformers.LlamaForCausalLM):
        def forward(self, *arguments: Any, **options: Any) -> Any:
            output = super().forward(*arguments, **options)
            output.logits = output.logits * self.temperature
            return output

    model = Scaled(transformers.LlamaConfig(**SHAPE)).double().train()
    model.temperature = nn.Parameter(torch.ones((), dtype=torch.float64))
    chosen = choose_parts(model, EngineConfig(packing=False))
    assert chosen.engine.parts == ("chunked_loss", "recompute")
    is_plain_training(model, chosen)


@pytest.mark.parametrize(
    "config",
    [
        transformers.BloomConfig(
            vocab_size=120, hidden_size=32, n_layer=2, n_head=4, hidden_dropout=0.0
        ),
        transformers.Lfm2Config(**SMALL, layer_types=["conv", "full_attention", "conv"]),
    ],
    ids=["ALiBi", "a state"],
)
def test_small_weights_do_not_hide_that_a_part_is_wrong(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(config).float()
    # Nothing resets what these layers keep of earlier tokens.
    monkeypatch.setattr(exact_engine, "put_in_mixers", lambda *_: False)
    chosen = choose_parts(model, EngineConfig())
    assert set(chosen.left_out) == ALL_BUT_LOSS
    is_plain_training(model.double(), chosen)


def test_a_window_that_only_the_mask_holds_is_seen_beyond_the_length_of_short_probes() -> None:
    model = model_of(transformers.MistralConfig(**SHAPE, sliding_window=60))
    all_parts = choose_parts(model, EngineConfig())
    assert all_parts.engine.parts == PARTS
    all_parts.engine.put_in(())
    for layer in model.model.layers:
        layer.self_attn.sliding_window = None
        layer.self_attn.config = transformers.MistralConfig(**SHAPE, sliding_window=None)
        layer.self_attn.config._attn_implementation = "sdpa"
    model.model.layers[0].self_attn.config = model.config
    chosen = choose_parts(model, EngineConfig())
    assert chosen.engine.own_attention
    is_plain_training(model, chosen)
    # No sequence of this training reaches the end of the window.
    chosen.engine.put_in(())
    assert long_probes(model.config, 30, 8192) == []


@pytest.mark.parametrize(
    "config",
    [
        transformers.Phi3Config(**SHAPE, rope_parameters=LONGROPE),
        transformers.LlamaConfig(
            **SHAPE | {"max_position_embeddings": 64},
            rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
        ),
    ],
    ids=["longrope", "dynamic NTK"],
)
def test_lengths_of_neighbors_change_nothing(config: Any) -> None:
    model, examples = model_of(config), nested_examples()
    chosen = choose_parts(model, EngineConfig())
    assert set(chosen.left_out) == ALL_BUT_LOSS
    assert chosen.one_by_one is not None
    alone = [chosen.engine.loss(model, [one]).item() for one in examples]
    for order in (examples, examples[::-1]):
        assert chosen.engine.loss(model, order).item() == pytest.approx(sum(alone), rel=1e-12)
    # In a training of short sequences the factors are always the same.
    chosen.engine.put_in(())
    short = choose_parts(model, EngineConfig(), longest=60)
    assert (short.engine.parts, short.one_by_one) == (PARTS, None)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            transformers.BertConfig(
                vocab_size=120,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
            ),
            "is not a causal model",
        ),
        (
            transformers.MixtralConfig(
                **SHAPE, num_local_experts=4, output_router_logits=True, router_aux_loss_coef=0.02
            ),
            r"auxiliary loss \(output_router_logits=true, router_aux_loss_coef=0.02\)",
        ),
    ],
    ids=["attends both ways", "auxiliary loss"],
)
def test_what_would_not_be_plain_training_is_refused(config: Any, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        choose_parts(model_of(config), EngineConfig())


@pytest.mark.parametrize("size", [1e-1, 1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("overflows", [False, True])
def test_however_little_later_tokens_change_the_model_is_not_causal(
    size: float, dtype: torch.dtype, overflows: bool
) -> None:
    model = tiny("llama").to(dtype)

    def look_ahead(_: Any, __: Any, output: Tensor) -> Tensor:
        return output + size * output.flip(1).cumsum(1).flip(1)

    def overflow(_: Any, __: Any, output: Tensor) -> Tensor:
        return torch.where(output.norm(dim=-1, keepdim=True) > largest, torch.inf, output)

    layer = model.model.layers[0]
    layer.register_forward_hook(look_ahead)
    if overflows:
        # A model that cannot compute with the enlarged weights of the check.
        states = torch.randn(1, 50, 32, dtype=dtype)
        largest = 4 * layer.mlp(states).norm(dim=-1).max().item()
        layer.mlp.register_forward_hook(overflow)
    with pytest.raises(ModelError, match="is not a causal model"):
        choose_parts(model, EngineConfig())


def test_a_model_whose_forward_pass_fails_is_refused_in_a_sentence() -> None:
    model = tiny("llama")
    model.model.layers[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ModelError, match="its own forward pass on token ids fails"):
        choose_parts(model, EngineConfig())


def test_layers_that_are_skipped_at_random_are_skipped_for_one_sequence_at_a_time() -> None:
    config = transformers.OPTConfig(
        vocab_size=120,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        layerdrop=0.5,
        dropout=0.0,
    )
    chosen = choose_parts(model_of(config), EngineConfig())
    assert set(chosen.left_out) == ALL_BUT_LOSS
    assert chosen.one_by_one == "it skips layers at random in training (layerdrop=0.5)"


def test_what_passes_of_training_leave_behind_is_seen() -> None:
    model = tiny("llama").float()
    layer = model.model.layers[0]
    layer.register_buffer("seen", torch.zeros(32))

    def keep(_: Any, __: Any, output: Tensor) -> Tensor:
        if not layer.training:
            return output
        mixed = output + 1e-2 * layer.seen
        layer.seen = 0.9 * layer.seen + 0.1 * output.detach().mean((0, 1))
        return mixed

    layer.register_forward_hook(keep)
    chosen = choose_parts(model, EngineConfig())
    assert set(chosen.left_out) == ALL_BUT_LOSS
    assert chosen.one_by_one == "in training a pass changes the results of later ones"
    assert not layer.seen.any(), "the check leaves nothing behind"


def test_packed_attention_has_the_dropout_of_the_config() -> None:
    model = model_of(transformers.LlamaConfig(**SHAPE, attention_dropout=0.5))
    chosen, examples = choose_parts(model, EngineConfig()), nested_examples()
    assert chosen.engine.parts == PARTS
    assert model.config.attention_dropout == 0.5

    def draw(seed: int) -> float:
        torch.manual_seed(seed)
        return chosen.engine.loss(model, examples).item()

    assert draw(0) == draw(0) != draw(1)
    model.eval()
    assert draw(0) == draw(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "config",
    [
        transformers.LlamaConfig(**SMALL),
        transformers.GPT2Config(vocab_size=120, n_embd=32, n_layer=2, n_head=4),
    ],
    ids=["llama", "gpt2"],
)
def test_the_choice_leaves_no_trace(config: Any, dtype: torch.dtype) -> None:
    model = model_of(config).to(dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rng = torch.get_rng_state()
    choose_parts(model, EngineConfig()).engine.put_in(())
    assert model.training
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_enlarged_weights_have_about_the_size_of_their_input() -> None:
    model = model_of(transformers.LlamaConfig(**SMALL))
    x = torch.randn(100, 32, dtype=torch.float64)
    layer = model.model.layers[0].self_attn.q_proj
    small = layer(x).std()
    with enlarged_weights(model):
        assert 0.4 < layer(x).std() < 2.5
    assert layer(x).std() == small < 0.2


@pytest.mark.parametrize(
    ("settings", "longest"),
    [
        ({"sliding_window": 4096, "vocab_size": 32000, "max_position_embeddings": 32768}, 4096),
        ({"index_topk_blocks": 16, "index_block_size": 128}, 2048),
        ({"layers": [{"attention_chunk_size": 8192}], "hidden_size": 8193}, 8192),
        ({"sliding_window": None, "num_experts_per_tok": 64, "moe_topk": 99}, 0),
    ],
)
def test_the_lengths_that_a_config_names_are_found(settings: Any, longest: int) -> None:
    assert longest_named(settings) == longest


def test_long_probes_reach_beyond_what_the_config_names_and_not_beyond_the_training() -> None:
    config = transformers.MistralConfig(**SHAPE, sliding_window=100)

    def lengths(longest: int | None) -> list[int]:
        return sorted(len(one.input_ids) for one in long_probes(config, longest, 8192))

    assert max(lengths(None)) == 100 + MARGIN == max(lengths(500))
    # Rows may still be longer than the window.
    assert max(lengths(60)) == 60
    assert sum(lengths(60)) > 100


def test_one_by_one_each_sequence_has_a_pass_of_its_own() -> None:
    model, examples = tiny("llama"), nested_examples()
    expected = gradients(model, lambda: run(reference_loss(model, examples)))
    engine = choose_parts(model, EngineConfig(packing=False)).engine
    engine.one_by_one = True
    seen: list[int] = []
    model.model.embed_tokens.register_forward_hook(lambda _, ids, __: seen.append(ids[0].numel()))
    for parts in (("chunked_loss",), ()):
        engine.put_in(parts)
        seen.clear()
        found = gradients(model, lambda: run(engine.loss(model, examples)))
        assert_same(found, expected, EXACT)
        assert seen == [len(one.input_ids) for one in examples]
