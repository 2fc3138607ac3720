"""Both decoders give the logits that a model computes from the whole history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from atlas.errors import ModelError
from atlas.models.local.decoders import PagedDecoder, SingleDecoder, make_decoder
from atlas.models.local.load import quiet_peft
from atlas.models.local.paged_attention import PAGE
from tests.training.tiny_families import FAMILIES, SHAPE, VOCABULARY, WINDOW

# Of these, a paged decoder is expected.
PAGED: dict[str, Callable[[], Any]] = FAMILIES | {
    "olmo2": lambda: transformers.Olmo2Config(**SHAPE),
    "starcoder2": lambda: transformers.Starcoder2Config(**SHAPE, sliding_window=WINDOW),
    # A score of each head without a value takes part in its softmax.
    "gpt_oss": lambda: transformers.GptOssConfig(
        **SHAPE, head_dim=8, sliding_window=WINDOW, num_local_experts=4, num_experts_per_tok=2
    ),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(
        **SHAPE, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
    ),
}
# Recurrent layers, ALiBi, and a window that only the mask has.
SINGLE: dict[str, Callable[[], Any]] = {
    "lfm2": lambda: transformers.Lfm2Config(
        **{**SHAPE, "num_hidden_layers": 2},
        layer_types=["conv", "full_attention"],
        block_multiple_of=8,
    ),
    "bloom": lambda: transformers.BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3
    ),
    # It counts positions from 0 at each call.
    "bamba": lambda: transformers.BambaConfig(
        **{**SHAPE, "num_hidden_layers": 2},
        attn_layer_indices=[1],
        mamba_n_heads=4,
        mamba_d_head=16,
        mamba_d_state=16,
        mamba_n_groups=1,
    ),
    "mamba": lambda: transformers.MambaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8
    ),
    "phimoe": lambda: transformers.PhimoeConfig(
        **SHAPE, sliding_window=PAGE + 40, num_local_experts=4
    ),
}


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def whole(model: Any, ids: list[int]) -> torch.Tensor:
    """The logits after a history, computed without a cache."""
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits
    return logits[0, -1].float()


def check(model: Any, decoder: Any, rounds: int = 8, seed: int = 0) -> None:
    """Feed several histories in pieces of many lengths, also longer than a page and a window."""
    rng = np.random.default_rng(seed)
    histories: dict[int, list[int]] = {number: [] for number in range(5)}
    known = {number: decoder.open() for number in histories}
    for turn in range(rounds):
        fed = []
        for number, history in histories.items():
            if rng.random() < 0.3 and turn:
                continue
            size = int(rng.choice([1, 1, 2, 30, PAGE - 1, PAGE, PAGE + 7]))
            piece = rng.integers(0, VOCABULARY, size).tolist()
            history += piece
            fed.append((number, piece))
        found = decoder.feed([(known[number], piece) for number, piece in fed])
        for row, (number, _) in zip(found, fed, strict=True):
            expected = whole(model, histories[number])
            assert torch.allclose(row, expected, rtol=1e-4, atol=2e-4), (turn, number)
        if turn == 3 and decoder.shares:
            # One conversation goes back, one ends, and one starts like another.
            histories[0] = histories[0][: len(histories[0]) // 2]
            decoder.cut(known[0], len(histories[0]))
            decoder.close(known.pop(1))
            del histories[1]
            histories[9] = histories[2][: max(1, len(histories[2]) - 3)]
            known[9] = decoder.copy(known[2], len(histories[9]))


@pytest.mark.parametrize("family", PAGED)
def test_the_paged_decoder_equals_the_whole_history(family: str) -> None:
    model = model_of(PAGED[family]())
    decoder = make_decoder(model)
    assert isinstance(decoder, PagedDecoder)
    check(model, decoder)


@pytest.mark.parametrize("family", SINGLE)
def test_other_models_are_decoded_one_by_one_which_is_said_and_equal_the_whole_history(
    family: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = model_of(SINGLE[family]())
    decoder = make_decoder(model)
    assert isinstance(decoder, SingleDecoder)
    said = capfd.readouterr().err
    assert said.count("is decoded one conversation at a time") == 1
    # Each of them has a cache of its own.
    assert "read again for each token" not in said
    check(model, decoder)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_rotations_that_depend_on_the_longest_history_are_not_shared(kind: str) -> None:
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
        rope["original_max_position_embeddings"] = 128
    shape = SHAPE | {"max_position_embeddings": 512 if kind == "longrope" else 128}
    model = model_of(transformers.LlamaConfig(**shape, rope_parameters=rope))
    assert isinstance(make_decoder(model, 128), PagedDecoder)
    decoder = make_decoder(model, 129)
    assert isinstance(decoder, SingleDecoder)
    if kind == "longrope":
        # A dynamic rotation depends on what the model computed before.
        check(model, decoder)


def test_a_model_that_reads_in_both_directions_is_refused() -> None:
    shape = {key: size for key, size in SHAPE.items() if key != "num_key_value_heads"}
    with pytest.raises(ModelError, match="BertLMHeadModel is not a causal model"):
        make_decoder(model_of(transformers.BertConfig(**shape)))


def test_a_model_whose_attention_is_not_what_its_class_declares_is_decoded_one_by_one() -> None:
    model = model_of(FAMILIES["llama"]())
    usual = model.model.layers[1].self_attn.forward

    def with_sums(*args: Any, **named: Any) -> Any:
        output, weights = usual(*args, **named)
        return output + output.cumsum(1), weights

    model.model.layers[1].self_attn.forward = with_sums
    decoder = make_decoder(model)
    assert isinstance(decoder, SingleDecoder)
    # A cache is of no use to it either.
    check(model, decoder, rounds=3)


def test_bfloat16_stays_close_to_the_whole_history() -> None:
    model = model_of(FAMILIES["llama"]()).bfloat16()
    decoder = make_decoder(model)
    assert isinstance(decoder, PagedDecoder)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 150).tolist()
    one = decoder.open()
    for piece in (ids[:70], ids[70:149], ids[149:]):
        found = decoder.feed([(one, piece)])[0]
    difference = torch.softmax(found, -1) - torch.softmax(whole(model, ids), -1)
    assert difference.abs().max() < 0.05


def test_adapters_are_decoded_together_too() -> None:
    peft = pytest.importorskip("peft")
    adapters = peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with quiet_peft():
        model = peft.get_peft_model(model_of(FAMILIES["llama"]()), adapters).eval()
    decoder = make_decoder(model)
    assert isinstance(decoder, PagedDecoder)
    check(model, decoder, rounds=4)


def test_pages_of_closed_conversations_are_used_again() -> None:
    model = model_of(FAMILIES["llama"]())
    decoder: Any = make_decoder(model)
    for number in range(40):
        one = decoder.open()
        decoder.feed([(one, [number + 1] * 100)])
        decoder.close(one)
    keys, _ = decoder._pages.layers[0]
    assert len(keys) <= 16


def test_the_model_keeps_its_own_attention_outside_of_the_decoder() -> None:
    model = model_of(FAMILIES["llama"]())
    before = model.config._attn_implementation
    decoder = make_decoder(model)
    decoder.feed([(decoder.open(), [1, 2, 3])])
    assert model.config._attn_implementation == before
