"""Passes in evaluation mode leave mode and weights as they were, so that a state can be loaded."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from atlas.training.base_predictions import with_base_log_probs
from atlas.training.config import EngineConfig, TrainConfig
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.evaluation_mode import evaluation_mode
from atlas.training.ranks import Ranks
from atlas.training.schedule import Schedule
from atlas.training.states import load_state, save_state
from tests.training.tiny_families import example


def rwkv() -> Any:
    """A model that divides weights by powers of 2 in evaluation mode."""
    torch.manual_seed(0)
    config = transformers.RwkvConfig(
        vocab_size=120,
        hidden_size=16,
        attention_hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        rescale_every=1,
    )
    return transformers.AutoModelForCausalLM.from_config(config)


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_unchanged(model: Any, before: dict[str, torch.Tensor]) -> None:
    changed = [
        name for name, one in model.state_dict().items() if not torch.equal(one, before[name])
    ]
    assert not changed


@pytest.mark.filterwarnings("ignore")
def test_neither_the_choice_of_parts_nor_the_base_pass_changes_weights() -> None:
    model = rwkv().eval()
    before = weights_of(model)
    engine = choose_parts(model, EngineConfig()).engine
    assert_unchanged(model, before)
    examples = [example(0, 5), example(1, 6)]
    schedule = Schedule.in_order([(one,) for one in examples], 2)
    with_base_log_probs(schedule, engine, TrainConfig(model="unused"), Ranks(), torch.no_grad)
    assert_unchanged(model, before)
    assert not model.training


def test_a_state_that_is_loaded_after_a_pass_in_evaluation_mode_is_the_saved_one(
    tmp_path: Path,
) -> None:
    model = rwkv().train()
    save_state(tmp_path, model)
    saved, ids = copy.deepcopy(model), torch.arange(6)[None]
    with torch.no_grad(), evaluation_mode(model):
        model(input_ids=ids)
    load_state(tmp_path, model)
    with torch.no_grad():
        expected, found = (one.train()(input_ids=ids).logits for one in (saved, model))
    assert torch.equal(found, expected)
    assert_unchanged(model, weights_of(saved))
