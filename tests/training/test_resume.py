"""A training that goes on from a state, and the checkpoint of families that are renamed on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.errors import ModelError, RunError
from atlas.models.local.load import load_model, locate_model
from atlas.store.run_folders import Manifest
from atlas.training.checkpoint import differing_tensors
from atlas.training.follower import RunFollower
from atlas.training.states import seal_state
from atlas.training.train_agent import train_agent
from tests.training.renamed_families import RENAMED, tiny_renamed, write_renamed
from tests.training.small_runs import make_runs, quick
from tests.training.tiny_families import shaken

FAMILIES = ("mixtral", "nemotron_h", "gemma3 with vision")
IN_RESUME = "resume.partial/checkpoint-3"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


def interrupt(monkeypatch: pytest.MonkeyPatch, config: Any, runs: Any, out: Path) -> None:
    """Train until optimizer step 5 of 6, with a state of step 3."""

    def stop(self: RunFollower, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFollower, "on_step_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            train_agent(config, *runs, out)
    assert (out / IN_RESUME / "trainer_state.json").exists()


def resumed_and_whole(
    monkeypatch: pytest.MonkeyPatch, config: Any, runs: Any, folder: Path
) -> tuple[Manifest, Manifest]:
    whole = train_agent(config, *runs, folder / "whole")
    interrupt(monkeypatch, config, runs, folder / "resumed")
    return train_agent(config, *runs, folder / "resumed"), whole


def assert_same_files(folder: Path, *names: str) -> None:
    for name in ("metrics.jsonl", *names):
        resumed, whole = (folder / run / name for run in ("resumed", "whole"))
        assert resumed.read_bytes() == whole.read_bytes(), name


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_training_of_a_renamed_family_gives_the_same_bytes(
    family: str,
    runs: tuple[Path, Path],
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = write_renamed(family, tokenizer, tmp_path / "model")
    config = quick(model, save_every=3)
    resumed_and_whole(monkeypatch, config, runs, tmp_path)
    assert_same_files(tmp_path, "checkpoint/model.safetensors")


@pytest.mark.parametrize("changes", [{"lora": {"rank": 4}}, {"kl_weight": 0.5}, {"log_every": 2}])
def test_a_resumed_training_gives_the_same_bytes_also_with_adapters_a_kl_or_rare_logs(
    changes: dict[str, object],
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "lora" in changes:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    config = quick(tiny_model_folder, save_every=3, **changes)
    resumed_and_whole(monkeypatch, config, runs, tmp_path)
    file = "adapter_model" if "lora" in changes else "model"
    assert_same_files(tmp_path, f"checkpoint/{file}.safetensors")


def test_a_state_is_refused_if_one_tensor_is_not_the_saved_one(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, out = quick(tiny_model_folder, save_every=3), tmp_path / "resumed"
    interrupt(monkeypatch, config, runs, out)
    digests = out / IN_RESUME / "digests.json"
    named = json.loads(digests.read_text())
    named["a tensor that is lost"] = "0"
    digests.write_text(json.dumps(named))
    # As after a save that wrote the wrong tensors.
    seal_state(out / IN_RESUME)
    with pytest.raises(
        RunError, match=r"1 of its .* are not the saved ones.*a tensor that is lost"
    ):
        train_agent(config, *runs, out)


@pytest.mark.parametrize("family", RENAMED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_saved_model_loaded_again_is_the_same_model(family: str, tmp_path: Path) -> None:
    tuned = shaken(tiny_renamed(family))
    tuned.save_pretrained(tmp_path)
    assert differing_tensors(tmp_path, tuned) == []
    name, parameter = next(iter(tuned.named_parameters()))
    with torch.no_grad():
        parameter += 1
    assert name in differing_tensors(tmp_path, tuned)


def test_a_checkpoint_that_does_not_give_back_the_model_is_an_error(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import LlamaForCausalLM

    save = LlamaForCausalLM.save_pretrained

    def save_a_norm_of_0(self: Any, folder: Path, **options: Any) -> None:
        weights = self.state_dict()
        name = "model.norm.weight"
        save(self, folder, state_dict=weights | {name: torch.zeros_like(weights[name])})

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", save_a_norm_of_0)
    with pytest.raises(
        ModelError, match=r"1 of its tensors differ, among them model\.norm\.weight"
    ):
        train_agent(quick(tiny_model_folder), *runs, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_vision_checkpoint_is_saved_with_what_prepares_its_images(
    runs: tuple[Path, Path], tokenizer: Any, tmp_path: Path
) -> None:
    model = write_renamed("gemma3 with vision", tokenizer, tmp_path / "model")
    (model / "preprocessor_config.json").write_text('{"image_mean": [0.5]}')
    train_agent(quick(model), *runs, tmp_path / "run")
    saved = tmp_path / "run" / "checkpoint"
    config = json.loads((saved / "config.json").read_text())
    assert config["architectures"] == ["Gemma3ForConditionalGeneration"]
    assert "vision_config" in config
    assert (saved / "preprocessor_config.json").read_text() == '{"image_mean": [0.5]}'
    before, after = (
        load_model(locate_model(str(path)), "float32", "cpu").state_dict()
        for path in (model, tmp_path / "run")
    )
    assert before.keys() == after.keys()
    seeing = [name for name in before if "vision_tower" in name]
    assert seeing
    assert all(torch.equal(before[name], after[name]) for name in seeing)


@pytest.mark.parametrize("changes", [{}, {"target_parameters": ["mlp.experts.down_proj"]}])
def test_merged_adapters_are_a_whole_model_with_the_same_logits(
    changes: dict[str, object], runs: tuple[Path, Path], tokenizer: Any, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    model = write_renamed("mixtral", tokenizer, tmp_path / "model")
    for name, merge in (("apart", False), ("merged", True)):
        lora = {"rank": 4, "merge": merge, **changes}
        train_agent(quick(model, lora=lora), *runs, tmp_path / name)
    merged = tmp_path / "merged" / "checkpoint"
    assert not list(merged.glob("adapter*"))
    assert "library_name: transformers" in (merged / "README.md").read_text()
    apart, whole, base = (
        load_model(locate_model(str(path)), "float32", "cpu")
        for path in (tmp_path / "apart", tmp_path / "merged", model)
    )
    ids = torch.arange(30)[None]
    with torch.no_grad():
        torch.testing.assert_close(whole(ids).logits, apart(ids).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(whole(ids).logits, base(ids).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("targets", [["lm_head", "q_proj"], ["embed_tokens"]])
def test_merged_adapters_of_a_tied_embedding_or_head_change_only_theirs(
    targets: list[str], runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    for name, merge in (("apart", False), ("merged", True)):
        lora = {"rank": 4, "merge": merge, "target_modules": targets}
        train_agent(
            quick(tiny_model_folder, lora=lora, learning_rate=1e-2, epochs=1),
            *runs,
            tmp_path / name,
        )
    apart, whole = (
        load_model(locate_model(str(tmp_path / name)), "float32", "cpu")
        for name in ("apart", "merged")
    )
    ids = torch.arange(30)[None]
    with torch.no_grad():
        torch.testing.assert_close(whole(ids).logits, apart(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_sum_that_computes_something_else_is_not_saved(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    monkeypatch.setattr(peft.PeftModel, "merge_and_unload", lambda self: self.unload(), False)
    config = quick(tiny_model_folder, lora={"rank": 4, "merge": True}, learning_rate=1e-2)
    with pytest.raises(ModelError, match="computes other logits than both do together"):
        train_agent(config, *runs, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()
