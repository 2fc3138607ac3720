"""A state gives back the model bit by bit, whatever `save_pretrained` renames."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.errors import RunError
from atlas.training.states import check_state, load_state, save_state, tensors_of
from tests.training.renamed_families import RENAMED, tiny_renamed
from tests.training.tiny_families import FAMILIES, shaken, tiny


def different(one: Any, other: Any) -> list[str]:
    ours, theirs = tensors_of(one), tensors_of(other)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


@pytest.mark.parametrize("family", [*FAMILIES, *RENAMED])
def test_a_state_gives_back_every_tensor(family: str, tmp_path: Path) -> None:
    base = tiny_renamed(family) if family in RENAMED else tiny(family)
    tuned = shaken(copy.deepcopy(base))
    with torch.no_grad():
        for name, buffer in tuned.named_buffers():
            if buffer.is_floating_point() and "inv_freq" not in name:
                buffer += 1
    assert different(tuned, base)
    save_state(tmp_path, tuned)
    load_state(tmp_path, base)
    assert different(tuned, base) == []


def test_buffers_that_grew_or_parted_are_given_back(tmp_path: Path) -> None:
    def make() -> torch.nn.Module:
        module, shared = torch.nn.Linear(2, 2), torch.ones(2)
        module.register_buffer("one", shared, persistent=False)
        module.register_buffer("other", shared, persistent=False)
        module.register_buffer("later", None)
        return module

    tuned = make()
    tuned.one, tuned.other, tuned.later = torch.zeros(5), torch.ones(2) * 3, torch.ones(1)
    save_state(tmp_path, tuned)
    base = make()
    load_state(tmp_path, base)
    assert different(tuned, base) == []


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_adapters_come_back_and_another_base_is_refused(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")

    def adapted(base: Any) -> Any:
        torch.manual_seed(3)
        return peft.get_peft_model(base, peft.LoraConfig(target_modules="all-linear"))

    tuned = shaken(adapted(tiny("llama")))
    save_state(tmp_path, tuned)
    base = adapted(tiny("llama"))
    load_state(tmp_path, base)
    assert different(tuned, base) == []
    with pytest.raises(RunError, match=r"1 of its .* tensors are not the saved ones, among them"):
        load_state(tmp_path, adapted(with_another_norm(tiny("llama"))))


def with_another_norm(model: Any) -> Any:
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    return model


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, tiny("llama"))
    with pytest.raises(RunError, match="are not the saved ones"):
        load_state(tmp_path, tiny("qwen2"))


def test_of_a_sharded_model_the_gathered_tensors_are_proved(tmp_path: Path) -> None:
    model = tiny("llama")
    gathered = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_state(tmp_path, model, gathered)
    assert not (tmp_path / "weights.safetensors").exists(), "its framework writes them"
    check_state(tmp_path, gathered)
    gathered["model.norm.weight"][0] += 1
    with pytest.raises(RunError, match=r"among them model\.norm\.weight"):
        check_state(tmp_path, gathered)
    with pytest.raises(RunError, match="of its 0 tensors are not the saved ones"):
        check_state(tmp_path, {})


def test_the_trainer_proves_a_sharded_model_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training.test_trainer import train_tiny

    trainer, _ = train_tiny(tiny("llama").float(), None, 1, 100, str(tmp_path / "state"))
    monkeypatch.setattr(trainer, "gathered_weights", trainer.model.state_dict)
    trainer.save_model(str(tmp_path))
    torch.save(trainer.optimizer.state_dict(), tmp_path / "optimizer.pt")
    torch.save(trainer.lr_scheduler.state_dict(), tmp_path / "scheduler.pt")
    trainer._load_optimizer_and_scheduler(str(tmp_path))
    with_another_norm(trainer.model)
    with pytest.raises(RunError, match=r"among them model\.norm\.weight"):
        trainer._load_optimizer_and_scheduler(str(tmp_path))
