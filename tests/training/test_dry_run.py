from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from atlas.errors import ConfigError, ModelError
from atlas.kinds import Choice
from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.readers import read_selections, read_trajectories
from atlas.training.config import LoraConfig, TrainConfig
from atlas.training.costs import count_costs, estimate_memory, try_smaller_rows
from atlas.training.dry_run import print_training_plan
from atlas.training.examples import TrainingExample
from atlas.training.model_shape import measure_shape
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories
from tests.training.small_runs import make_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


def test_a_dry_run_says_what_would_be_trained_and_trains_nothing(
    runs: tuple[Path, Path], tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "atlas.models.local.load.load_model", lambda *_: pytest.fail("the model was loaded")
    )
    loss = {"loss_normalizer": "steps", "kl_weight": 0.1}
    console = Console(record=True, width=120, file=io.StringIO())
    print_training_plan(
        console,
        TrainConfig(
            model=str(tiny_model_folder), batch_size=4, engine={"last_layer": False}, **loss
        ),
        *runs,
    )
    text = console.export_text()
    selected = sum(
        len(selection.indices) for selection in read_selections(runs[1], runs[0]).values()
    )
    steps = sum(len(trajectory.steps) for trajectory in read_trajectories(runs[0]))
    assert f"12 of 12 trajectories; {selected} of {steps} steps supervised, 0 dropped" in text
    assert "loss:        mean over steps; KL to the base model at" in text
    assert "3 optimizer steps" in text
    assert "last layer where something is supervised (off)" in text
    assert "⟦Thought:" in text
    assert "after the last one with loss are not run" in text


def test_each_saving_costs_less_than_what_went_before(tiny_model_folder: Path) -> None:
    from tests.training.tiny_families import nested_examples

    config = TrainConfig(model=str(tiny_model_folder))
    shape = measure_shape(str(tiny_model_folder), config)
    costs = [cost.operations for cost in count_costs(shape, config, [nested_examples()])]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) >= len(costs) - 1, "these examples have no tail, all else saves"


def test_smaller_rows_are_named_as_long_as_they_save_memory(tiny_model_folder: Path) -> None:
    from tests.training.tiny_families import nested_examples

    steps = [[*nested_examples(), *nested_examples()]]
    longest = max(len(one.input_ids) for one in steps[0])
    whole = TrainConfig(model=str(tiny_model_folder), engine={"micro_batch_tokens": 4 * longest})
    shape = measure_shape(str(tiny_model_folder), whole)
    found = try_smaller_rows(shape, whole, steps, "fp32")
    assert found
    sizes = [sum(estimate_memory(shape, whole, steps, "fp32").values())]
    for rows in found:
        given = {"micro_batch_tokens": rows.micro_batch_tokens}
        config = TrainConfig(model=str(tiny_model_folder), engine=given)
        assert rows.memory == sum(estimate_memory(shape, config, steps, "fp32").values())
        assert rows.more >= 0, "smaller rows share fewer prompts, never more"
        sizes.append(rows.memory)
    assert sizes == sorted(sizes, reverse=True)
    small = TrainConfig(model=str(tiny_model_folder), engine={"micro_batch_tokens": 1})
    assert not try_smaller_rows(shape, small, steps, "fp32"), "a row holds its longest example"


def test_of_a_mixture_the_experts_that_a_token_goes_through_are_counted(tmp_path: Path) -> None:
    from transformers import MixtralConfig

    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    MixtralConfig(
        **sizes, vocab_size=100, num_local_experts=4, num_experts_per_tok=2
    ).save_pretrained(tmp_path)
    shape = measure_shape(str(tmp_path), TrainConfig(model=str(tmp_path)))
    assert shape.layer_weights - shape.linear_weights == 2 * 3 * 32 * 64
    assert 2 * (32 * 32 + 16 * 32) <= shape.linear_weights <= 2 * (32 * 32 + 16 * 32) + 4 * 32, (
        "attention, and perhaps the router"
    )


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        (
            "Llama",
            {
                "max_position_embeddings": 64,
                "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
            },
            "takes its factors from the longest sequence of a pass (beyond 64 tokens)",
        ),
        ("OPT", {"layerdrop": 0.2, "word_embed_proj_dim": 32, "ffn_dim": 64}, "skips layers"),
    ],
)
def test_a_dry_run_says_what_the_config_shows_about_passes(
    kind: str,
    changes: dict[str, object],
    reason: str,
    runs: tuple[Path, Path],
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            **changes,
        }
    )
    config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    console = Console(record=True, width=200, file=io.StringIO())
    print_training_plan(console, TrainConfig(model=str(tmp_path)), *runs)
    text = console.export_text()
    assert "each sequence has a separate forward pass: " in text
    assert reason in text
    assert "+ no padding (off)" in text


def test_a_context_without_gradient_costs_less(tiny_model_folder: Path) -> None:
    from tests.training.tiny_families import nested_examples

    examples = []
    for one in nested_examples():
        labels = one.labels.copy()
        labels[:-2] = IGNORED_LABEL
        examples.append(replace(one, labels=labels))

    def cost(given: str) -> float:
        config = TrainConfig(model=str(tiny_model_folder), context_gradient=given)
        shape = measure_shape(str(tiny_model_folder), config)
        return count_costs(shape, config, [examples])[-1].operations

    assert cost("stop") < cost("full")


def test_operations_of_one_sequence_are_those_counted_by_hand(tiny_model_folder: Path) -> None:
    from tests.training.tiny_families import example

    config = TrainConfig(model=str(tiny_model_folder))
    shape = measure_shape(str(tiny_model_folder), config)
    assert (shape.num_layers, shape.hidden, shape.query_width, shape.key_width) == (2, 32, 32, 16)
    assert shape.layer_weights == 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64
    one = example(1, 10)
    everywhere = count_costs(shape, config, [[one]])[0]
    by_hand = 3 * (
        2 * 2 * shape.layer_weights * 10 + 2 * 4 * 32 * 55 + 2 * 10 * 32 * shape.vocabulary
    )
    assert everywhere.operations == by_hand


def test_adapters_and_checkpointing_need_less_memory(tiny_model_folder: Path) -> None:
    from tests.training.tiny_families import nested_examples

    def memory(**changes: object) -> float:
        config = TrainConfig.model_validate({"model": str(tiny_model_folder), **changes})
        shape = measure_shape(str(tiny_model_folder), config)
        return sum(estimate_memory(shape, config, [nested_examples()], "fp32").values())

    assert memory(lora=LoraConfig(rank=2)) < memory()
    assert memory(gradient_checkpointing=True) < memory()
    assert memory(engine={"shared_prompts": False}) > memory()


@pytest.mark.parametrize("given", ["full", "stop"])
def test_the_divergence_costs_a_forward_pass_and_memory_for_a_copy_unless_there_are_adapters(
    tiny_model_folder: Path, given: str
) -> None:
    from tests.training.tiny_families import nested_examples, with_weights_and_anchors

    plain, held = [nested_examples()], [with_weights_and_anchors(nested_examples())]

    def plan(
        examples: list[list[TrainingExample]], **changes: object
    ) -> tuple[float, dict[str, float]]:
        config = TrainConfig.model_validate(
            {"model": str(tiny_model_folder), "context_gradient": given, **changes}
        )
        shape = measure_shape(str(tiny_model_folder), config)
        return count_costs(shape, config, examples)[-1].operations, estimate_memory(
            shape, config, examples, "fp32"
        )

    (off, memory), (on, with_copy), (_, with_adapters) = (
        plan(plain),
        plan(held),
        plan(held, lora={"rank": 2}),
    )
    shape = measure_shape(str(tiny_model_folder), TrainConfig(model=str(tiny_model_folder)))
    tokens = sum(len(one.input_ids) for one in nested_examples()) - 4 * 40 - 2 * 36
    assert on - off > 2 * shape.num_layers * shape.layer_weights * tokens
    assert with_copy["copy of the base"] == 4 * shape.num_parameters
    assert "copy of the base" not in memory | with_adapters


def test_a_dry_run_refuses_what_the_run_would_refuse(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    def plan(model: Path, **settings: object) -> None:
        config = TrainConfig.model_validate({"model": str(model), **settings})
        print_training_plan(Console(file=io.StringIO()), config, *runs)

    with pytest.raises(ConfigError, match="Raise epochs"):
        plan(tiny_model_folder, epochs=0.01)
    changed = tmp_path / "changed"
    shutil.copytree(tiny_model_folder, changed)
    (changed / "config.json").write_text(
        json.dumps(json.loads((changed / "config.json").read_text()) | {"vocab_size": 200})
    )
    with pytest.raises(ModelError, match="embeddings for 200 tokens"):
        plan(changed)
    (changed / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json of model .* cannot be read"):
        plan(changed)
    (changed / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="low-rank adapters"):
        plan(changed)


def test_the_id_of_the_example_is_shown_without_control_characters(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    trajectories = write_trajectories(tmp_path / "t", [make_trajectory(3, "t\x1b[31m\u202e\n")])
    select_steps(SelectConfig(selector=Choice("random")), trajectories, tmp_path / "selection")
    console = Console(width=120, file=io.StringIO())
    config = TrainConfig(model=str(tiny_model_folder))
    print_training_plan(console, config, trajectories, tmp_path / "selection")
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert r"t\x1b[31m\u202e\n, supervised" in printed
    assert not set(printed) & {"\x1b", "\u202e"}
