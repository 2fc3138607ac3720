"""`context_gradient`: the loss of the full gradient, with gradient only where it should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.config import check_config
from atlas.errors import ConfigError, ModelError
from atlas.training.config import EngineConfig, TrainConfig
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.packed_rows import pack_row
from atlas.training.examples import TrainingExample
from tests.training.engine.test_engine import EXACT, backward, engine_backward
from tests.training.tiny_families import (
    FAMILIES,
    assert_same,
    gradients,
    nested_examples,
    reference_loss,
    tiny,
)

names = pytest.mark.parametrize("family", FAMILIES)


@names
def test_a_window_over_everything_is_the_full_gradient(family: str) -> None:
    model, examples = tiny(family), nested_examples()
    expected = gradients(model, lambda: backward(reference_loss(model, examples)))
    engine = choose_parts(model, EngineConfig(), window=1000).engine
    assert engine.parts == ("chunked_loss", "packing", "shared_prompts", "recompute")
    assert_same(gradients(model, lambda: engine_backward(engine, model, examples)), expected, EXACT)


@names
def test_without_gradient_through_the_context_the_loss_is_the_same_and_the_gradient_is_not(
    family: str,
) -> None:
    model, examples = tiny(family), nested_examples()
    loss, full = gradients(model, lambda: backward(reference_loss(model, examples)))
    engine = choose_parts(model, EngineConfig(), window=0).engine
    plain = gradients(model, lambda: engine_backward(engine, model, examples))
    assert plain[0] == pytest.approx(loss, rel=EXACT)
    name = next(
        name for name in full if ("layers.0" in name and "down_proj" in name) or "fc2" in name
    )
    assert (plain[1][name] - full[name]).abs().max() > 1e-3 * full[name].abs().max()
    model.activation_checkpointing_enable()
    assert_same(gradients(model, lambda: engine_backward(engine, model, examples)), plain, EXACT)


def one_answer() -> TrainingExample:
    """Tokens 10 to 39, each once; the last four are supervised."""
    ids = np.arange(10, 40, dtype=np.int32)
    return TrainingExample("t", ids, np.where(ids >= 36, ids, -100).astype(np.int64))


@pytest.mark.parametrize(("window", "first"), [(0, 35), (5, 30), (25, 10), (None, 10)])
def test_the_gradient_reaches_the_embeddings_of_live_tokens_and_no_others(
    window: int | None, first: int
) -> None:
    model = tiny("qwen2")
    engine = choose_parts(model, EngineConfig(), window=window).engine
    engine.loss(model, [one_answer()]).backward()  # type: ignore[no-untyped-call]
    reached = model.get_input_embeddings().weight.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert reached == list(range(first, 39)), "the last token predicts nothing"


def test_a_window_counts_tokens_of_the_sequence_not_of_the_row() -> None:
    examples = nested_examples()
    row = pack_row([(one.input_ids, one.labels) for one in examples], share_prompts=True, window=3)
    places = set(row.live.tolist())
    assert set(row.kept.tolist()) <= places
    expected = {
        (tuple(one.input_ids[: place + 1].tolist()))
        for one in examples
        for supervised in np.flatnonzero(one.labels != -100)
        for place in range(max(0, supervised - 4), supervised)
    }
    assert len(places) == len(expected), (
        "a live token depends on all that its sequence holds up to it"
    )


def test_under_autocast_the_weights_keep_their_gradient() -> None:
    model, examples = tiny("llama").float(), nested_examples()
    engine = choose_parts(model, EngineConfig(), window=0).engine
    exact = gradients(model, lambda: engine_backward(engine, model, examples))[1]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gradients(model, lambda: engine_backward(engine, model, examples))[1]
    assert rounded.keys() == exact.keys()
    for name, gradient in exact.items():
        assert torch.cosine_similarity(rounded[name].flatten(), gradient.flatten(), dim=0) > 0.95, (
            name
        )


def test_a_setting_that_means_nothing_or_cannot_be_had_is_refused() -> None:
    with pytest.raises(ConfigError, match="context_gradient"):
        check_config(TrainConfig, {"model": "m", "context_gradient": "window:7"}, "command line")
    assert [
        TrainConfig(model="m", context_gradient=given).gradient_window for given in ("full", "stop")
    ] == [None, 0]
    with pytest.raises(ConfigError, match=r"needs engine\.packing"):
        check_config(
            TrainConfig,
            {"model": "m", "context_gradient": "stop", "engine": {"packing": False}},
            "command line",
        )
    with pytest.raises(ModelError, match="Set context_gradient=full"):
        choose_parts(tiny("llama"), EngineConfig(packing=False), window=0)


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT 0.21 under transformers 5.23
@pytest.mark.parametrize("window", [0, 5])
def test_adapters_train_without_gradient_through_the_context(window: int) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    bare, examples = tiny("llama"), nested_examples()
    whole = choose_parts(bare, EngineConfig(), window=window).engine
    expected = gradients(bare, lambda: engine_backward(whole, bare, examples))
    whole.put_in(())
    model = peft.get_peft_model(
        bare, peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    ).double()
    engine = choose_parts(model, EngineConfig(), window=window).engine
    loss, found = gradients(model, lambda: engine_backward(engine, model, examples))
    assert loss == pytest.approx(expected[0], rel=EXACT), "new adapters change nothing yet"
    name = "layers.0.self_attn.q_proj"
    (adapter,) = (module for path, module in model.named_modules() if path.endswith(name))
    of_weight = next(
        gradient for path, gradient in expected[1].items() if path.endswith(f"{name}.weight")
    )
    of_b = next(gradient for path, gradient in found.items() if f"{name}.lora_B" in path)
    a = adapter.lora_A["default"].weight
    torch.testing.assert_close(
        of_b, adapter.scaling["default"] * of_weight @ a.T, rtol=1e-6, atol=1e-9
    )
