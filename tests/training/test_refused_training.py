"""What training refuses, before it costs anything if that can be known, and what ends it."""

from __future__ import annotations

import errno
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from atlas.config import check_config
from atlas.errors import ConfigError, DataError, DependencyError, ModelError, RunError
from atlas.store.run_folders import start_run
from atlas.training.config import TrainConfig
from atlas.training.train_agent import train_agent
from tests.conftest import make_trajectory
from tests.run_folders import NoSettings, write_selections, write_trajectories
from tests.training.small_runs import make_runs, quick


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


def changed_model(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], None], out: Path, **settings: object
) -> Path:
    """A copy of a model folder with other weights and settings."""
    shutil.copytree(folder, out)
    weights = load_file(out / "model.safetensors")
    change(weights)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(
        json.dumps(json.loads((out / "config.json").read_text()) | settings)
    )
    return out


def test_a_missing_package_for_four_bits_is_named(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(DependencyError, match=r"bitsandbytes.*atlas-tuning\[qlora\]"):
        train_agent(quick(tiny_model_folder, lora={"quantize": "4bit"}), *runs, tmp_path / "run")


def test_a_tracker_that_cannot_be_used_is_named_before_the_model_is_loaded(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "atlas.training.tune_model.load_model", lambda *_: pytest.fail("the model was loaded")
    )
    with pytest.raises(ConfigError, match=r"report_to=.*nosuch"):
        train_agent(quick(tiny_model_folder, report_to=["nosuch"]), *runs, tmp_path / "run")


def test_a_polynomial_schedule_that_would_not_go_down_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="'lr_scheduler' is 'polynomial': learning_rate=1e-07 is not above 1e-07"
    ):
        check_config(
            TrainConfig,
            {"model": "m", "lr_scheduler": "polynomial", "learning_rate": 1e-7},
            where="test",
        )
    check_config(
        TrainConfig,
        {"model": "m", "lr_scheduler": "polynomial", "learning_rate": 2e-7},
        where="test",
    )


@pytest.mark.parametrize("targets", [["nope"], "q_proj|v_proj", []])
def test_layers_that_the_model_does_not_have_are_named_with_those_it_has(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path, targets: object
) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    with pytest.raises(ConfigError, match=r"lora\.target_modules=.* cannot be used: .*down_proj"):
        train_agent(
            quick(tiny_model_folder, lora={"target_modules": targets}), *runs, tmp_path / "run"
        )


def test_a_selection_of_other_trajectories_is_refused(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    other = write_trajectories(tmp_path / "other", [make_trajectory(3, "elsewhere")])
    with pytest.raises(RunError, match="other trajectories"):
        train_agent(quick(tiny_model_folder), other, runs[1], tmp_path / "run")


def test_a_run_without_a_supervised_token_stops_before_the_model_is_loaded(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "atlas.training.tune_model.load_model", lambda *_: pytest.fail("the model was loaded")
    )
    with pytest.raises(DataError, match=r"no token would be supervised.*max_tokens"):
        train_agent(quick(tiny_model_folder, max_tokens=8), *runs, tmp_path / "run")
    assert len((tmp_path / "run" / "problems.jsonl").read_text().splitlines()) == 12, (
        "the reason of each is there to read"
    )


def test_an_empty_selection_is_refused(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    empty = write_selections(tmp_path / "empty", [], runs[0])
    with pytest.raises(DataError, match="no selections"):
        train_agent(quick(tiny_model_folder), runs[0], empty, tmp_path / "run")


def test_a_missing_model_folder_and_one_without_a_template_are_named(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        train_agent(quick(tmp_path / "nowhere"), *runs, tmp_path / "run")
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in tiny_model_folder.iterdir():
        if file.name != "chat_template.jinja":
            (bare / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="no chat template"):
        train_agent(quick(bare), *runs, tmp_path / "run2")


def test_torn_weights_adapters_alone_and_an_empty_schedule_are_named(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    torn = tmp_path / "torn"
    shutil.copytree(tiny_model_folder, torn)
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:200])
    with pytest.raises(ModelError, match="cannot be loaded"):
        train_agent(quick(torn), *runs, tmp_path / "run")
    (torn / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="low-rank adapters"):
        train_agent(quick(torn), *runs, tmp_path / "run")
    with pytest.raises(ConfigError, match="Raise epochs"):
        train_agent(quick(tiny_model_folder, epochs=0.01), *runs, tmp_path / "run")


def test_weights_that_are_not_all_there_are_not_made_up(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    gone = "model.layers.1.mlp.up_proj.weight"
    lacking = changed_model(
        tiny_model_folder, lambda weights: weights.__delitem__(gone), tmp_path / "lacking"
    )
    with pytest.raises(ModelError, match=f"lack 1 of those .* {gone}"):
        train_agent(quick(lacking), *runs, tmp_path / "run")


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused_before_loading(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shorten(weights: dict[str, torch.Tensor]) -> None:
        weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:200].clone()

    small = changed_model(tiny_model_folder, shorten, tmp_path / "small", vocab_size=200)
    monkeypatch.setattr(
        "atlas.training.tune_model.load_model", lambda *_: pytest.fail("the model was loaded")
    )
    with pytest.raises(ModelError, match="embeddings for 200 tokens"):
        train_agent(quick(small), *runs, tmp_path / "run")


@pytest.mark.parametrize("rotates", [True, False])
def test_sequences_that_are_too_long_are_named_and_refused_if_there_is_no_such_position(
    runs: tuple[Path, Path],
    tokenizer: Any,
    tmp_path: Path,
    rotates: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import transformers

    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    kind = transformers.LlamaConfig if rotates else transformers.GPT2Config
    folder = tmp_path / "short"
    transformers.AutoModelForCausalLM.from_config(
        kind(**sizes, max_position_embeddings=100)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = quick(folder, epochs=0.5)
    if rotates:
        train_agent(config, *runs, tmp_path / "run")
        assert "is made for 100" in capsys.readouterr().err
    else:
        with pytest.raises(ModelError, match="embeddings for 100 positions"):
            train_agent(config, *runs, tmp_path / "run")


def test_a_training_that_diverges_ends_and_leaves_no_checkpoint(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    wild = {"learning_rate": 1e9, "lr_scheduler": "constant", "warmup_ratio": 0, "epochs": 4}
    for log_every in (1, 100):
        with pytest.raises(ModelError, match=r"diverged: .* expected a finite number"):
            train_agent(
                quick(tiny_model_folder, log_every=log_every, **wild),
                *runs,
                tmp_path / f"run{log_every}",
            )
        assert not (tmp_path / f"run{log_every}" / "checkpoint").exists()


@pytest.mark.parametrize(
    "message",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "unexpected pos 576 vs 534",
    ],
)
def test_a_full_disk_is_an_os_error_whoever_notices_it(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
) -> None:
    def no_room(*_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr("atlas.training.train_agent.save_checkpoint", no_room)
    monkeypatch.setattr(
        "atlas.training.checkpoint.shutil.disk_usage", lambda _: SimpleNamespace(free=0)
    )
    with pytest.raises(OSError, match="No space left") as error:
        train_agent(quick(tiny_model_folder), *runs, tmp_path / "run")
    assert error.value.errno == errno.ENOSPC


def test_an_unfinished_run_is_no_input(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    with start_run(tmp_path / "half", "collect", NoSettings()):
        pass
    with pytest.raises(RunError, match="not finished"):
        train_agent(quick(tiny_model_folder), tmp_path / "half", runs[1], tmp_path / "run")
