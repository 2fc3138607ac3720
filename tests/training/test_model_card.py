"""The model card as the hub reads it, with any names; and the push, against the hub's client."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub
import pytest

from atlas.errors import ConfigError, HubError
from atlas.models.local.load import ModelPlace
from atlas.store.run_folders import Input, Manifest
from atlas.training.config import LoraConfig, TrainConfig
from atlas.training.model_card import write_card
from atlas.training.push_to_hub import PUSHED_FILE, check_push, push_checkpoint

HOSTILE = "x`|\n---\nlicense: mit\n<script>alert(1)</script>\x1b[2J"
MADE: dict[str, Any] = {
    "num_trajectories": 3,
    "num_steps": 9,
    "num_supervised_steps": 3,
    "num_tokens": 200,
    "num_supervised_tokens": 50,
    "template_digest": "abc",
    "engine": "packing",
    "precision": "fp32",
    "num_processes": 2,
    "optimizer_steps": 1,
    "final_loss": 1.5,
}


def card(
    base: str,
    lora: LoraConfig | None = None,
    name: str = "babyai",
    is_folder: bool = True,
    asks_a_model: bool = False,
) -> str:
    config = TrainConfig(model=base, lora=lora)
    run = Manifest(
        command="train",
        config={},
        inputs={"model": Input(path=base, digest="d" * 64)},
        versions={"code": name},
    )
    chosen_by = {
        "selector": name,
        "sentence": "the steps that were drawn at random",
        "asks_a_model": asks_a_model,
        "model": "openai/gpt-4o",
    }
    selection = Manifest(command="select", config={"ratio": 0.3}, summary={"chosen_by": chosen_by})
    place = ModelPlace(base, "/" if is_folder else base)
    return write_card(
        config,
        place,
        run,
        Manifest(command="import", config={}),
        selection,
        Counter({name: 3}),
        MADE,
    )


def test_the_hub_reads_base_model_library_and_tags_from_the_front_matter() -> None:
    data = huggingface_hub.ModelCard(
        card("meta-llama/Llama-3.1-8B-Instruct", LoraConfig(), is_folder=False)
    ).data
    assert data.base_model == "meta-llama/Llama-3.1-8B-Instruct"
    assert (data.library_name, data.pipeline_tag, data.license) == ("peft", "text-generation", None)
    assert {"atlas", "agent", "lora"} <= set(data.tags)


def test_text_from_outside_stays_in_its_cell() -> None:
    text = card("/home/someone/models/" + HOSTILE.replace("/", ""), name=HOSTILE)
    assert huggingface_hub.ModelCard(text).data.license is None
    assert "\x1b" not in text
    assert "/home/someone" not in text
    (row,) = (line for line in text.splitlines() if line.startswith("| selection |"))
    assert row.count("|") == 3
    assert row.count("`") % 2 == 0


def test_a_folder_of_this_machine_is_no_base_model_for_the_hub() -> None:
    data = huggingface_hub.ModelCard(card("models/base")).data
    assert data.base_model is None


def test_the_card_says_how_steps_were_chosen_and_names_the_model_that_was_asked() -> None:
    drawn, asked = card("models/base"), card("models/base", asks_a_model=True)
    assert "selector `babyai`, steps `the steps that were drawn at random`" in drawn
    assert "openai/gpt-4o" not in drawn
    assert "model `openai/gpt-4o`" in asked


class Hub:
    """huggingface_hub.HfApi as far as it is called, refusing the first upload."""

    calls: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append((repository, options))

    def upload_folder(self, **options: Any) -> None:
        self.calls.append(("upload", options))
        if len(self.calls) == 2:
            raise OSError("no route to the hub")


def test_a_push_that_fails_keeps_the_run_and_the_next_one_pushes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [])
    manifest = Manifest(command="train", config={}, outputs={"checkpoint/model.safetensors": "d"})
    with pytest.raises(HubError, match=r"is finished and kept.*no route to the hub.*same command"):
        push_checkpoint(tmp_path, manifest, "me/agent", private=True)
    assert not (tmp_path / PUSHED_FILE).exists()
    push_checkpoint(tmp_path, manifest, "me/agent", private=True)
    assert Hub.calls[2] == ("me/agent", {"private": True, "exist_ok": True})
    assert Hub.calls[3][1]["folder_path"] == tmp_path / "checkpoint"
    assert json.loads((tmp_path / PUSHED_FILE).read_text())["repository"] == "me/agent"
    push_checkpoint(tmp_path, manifest, "me/agent", private=True)
    assert len(Hub.calls) == 4, "what was pushed is not pushed again"


def test_a_push_that_would_surely_fail_is_refused_before_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="owner/name"):
        check_push("a/b/c")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        check_push("me/agent")
