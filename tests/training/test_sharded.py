"""Training that FSDP2 shards over two gloo processes ends as that of one process does."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import Popen

import pytest

from atlas.store.run_folders import read_manifest
from atlas.training.states import seal_state
from tests.processes import wait_for
from tests.training.launched_runs import (
    OBJECTIVE,
    SHARDED,
    finish,
    kill_a_rank_after_a_state,
    largest_difference,
    losses,
    make_inputs,
    start,
    train_here,
    weights,
)
from tests.training.sharding_on_cpus import FSDP2

# AdamW turns the rounding of a gradient near 0 into an update of the size of the learning rate.
SMALL_UPDATES = "learning_rate=1e-4"
WHOLE_LOSS = (OBJECTIVE, "kl_weight=0.5", "held_out=0.2", SMALL_UPDATES)


@pytest.fixture(scope="module")
def inputs(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A model with tied embeddings."""
    return make_inputs(tiny_model_folder, tmp_path_factory.mktemp("inputs"))


def shard(inputs: list[str], out: Path, *settings: str, **variables: str) -> Popen[str]:
    return start(inputs, out, 2, *settings, module=SHARDED, environment=FSDP2 | variables)


def assert_as_one(folder: Path, file: str = "model") -> None:
    """The gathered checkpoint is that of a single process, up to rounding."""
    one, sharded = folder / "one", folder / "sharded"
    assert losses(sharded) == pytest.approx(losses(one), rel=1e-4)
    assert largest_difference(weights(one, file), weights(sharded, file)) < 1e-5
    before = weights(sharded, file)
    assert any(tensor.abs().sum() > 0 for tensor in before.values())


def test_a_sharded_training_has_the_losses_and_the_checkpoint_of_one_process(
    inputs: list[str], tmp_path: Path
) -> None:
    """With objective, base probabilities, KL and held-out loss; only rank 0 has loaded weights."""
    settings = (*WHOLE_LOSS, "epochs=2")
    sharded = shard(inputs, tmp_path / "sharded", *settings, EMPTY_RANKS="1")
    train_here(inputs, tmp_path / "one", *settings)
    finish(sharded)
    assert_as_one(tmp_path)
    saved = tmp_path / "sharded" / "checkpoint"
    assert (
        saved.joinpath("model.safetensors").stat().st_size
        == (tmp_path / "one" / "checkpoint" / "model.safetensors").stat().st_size
    ), "a tied tensor is written once"


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [(SMALL_UPDATES,), WHOLE_LOSS, ("lora.rank=4", "kl_weight=0.5")]
)
@pytest.mark.parametrize("tied", [True, False])
def test_a_killed_sharded_training_goes_on_to_the_same_weights(
    tied: bool, settings: tuple[str, ...], tiny_model_folder: Path, tmp_path: Path
) -> None:
    if "lora.rank=4" in settings:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    model = tiny_model_folder if tied else untied(tiny_model_folder, tmp_path / "model")
    inputs = make_inputs(model, tmp_path)
    file = "adapter_model" if "lora.rank=4" in settings else "model"
    alone = start(inputs, tmp_path / "one", 1, *settings)
    sharded = shard(inputs, tmp_path / "sharded", *settings)
    finish(alone)
    finish(sharded)
    assert_as_one(tmp_path, file)
    killed = tmp_path / "killed"
    kill_a_rank_after_a_state(shard(inputs, killed, *settings), killed)
    finish(shard(inputs, killed, *settings))
    for name in ("metrics.jsonl", f"checkpoint/{file}.safetensors"):
        assert (killed / name).read_bytes() == (tmp_path / "sharded" / name).read_bytes(), name


@pytest.mark.slow
def test_a_state_of_a_sharded_training_is_refused_if_a_tensor_is_not_the_saved_one(
    inputs: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kill_a_rank_after_a_state(shard(inputs, run, "epochs=40"), run)
    for state in (run / "resume.partial").glob("checkpoint-*"):
        digests = json.loads((state / "digests.json").read_text())
        digests["model.norm.weight"] = "0"
        (state / "digests.json").write_text(json.dumps(digests))
        # As after a save that wrote the wrong tensors.
        seal_state(state)
    process = shard(inputs, run, "epochs=40")
    _, errors = wait_for(process)
    assert process.returncode != 0
    assert "1 of its" in errors
    assert "model.norm.weight" in errors


@pytest.mark.slow
def test_a_cpu_training_that_asks_for_shards_says_that_there_are_none(
    inputs: list[str], tmp_path: Path
) -> None:
    process = start(inputs, tmp_path / "run", 2, "epochs=1", environment=FSDP2)
    assert "does not shard on a CPU" in finish(process)[1]
    assert read_manifest(tmp_path / "run").status == "finished"


def untied(model: Path, folder: Path) -> Path:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole = AutoModelForCausalLM.from_pretrained(model, tie_word_embeddings=False)
    whole.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder
