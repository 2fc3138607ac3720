"""A model by hub id, folder or training run: its identity, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import ModelError
from atlas.models.local.load import load_model, locate_model, model_input


def make_folder(path: Path, weights: bytes) -> Path:
    path.mkdir()
    for name in ("chat_template.jinja", "config.json", "tokenizer.json"):
        (path / name).write_text("{}")
    (path / "model.safetensors").write_bytes(weights)
    return path


def test_a_folder_is_told_apart_by_every_file_of_the_model(tmp_path: Path) -> None:
    one, same, other = (
        make_folder(tmp_path / name, weights)
        for name, weights in (("one", b"1"), ("same", b"1"), ("other", b"2"))
    )
    digests = [model_input(str(folder), tmp_path / "run").digest for folder in (one, same, other)]
    assert digests[0] == digests[1]
    assert str(digests[0])[:12] != str(digests[2])[:12], (
        "the weights come last in the alphabet, and count all the same"
    )


def test_a_hub_id_is_its_own_name_and_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    assert model_input("some-lab/some-model", tmp_path / "run").path == "some-lab/some-model"
    with pytest.raises(ModelError, match="does not exist"):
        locate_model(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        locate_model(str(tmp_path / "empty"))


def test_an_encoder_decoder_is_refused_instead_of_playing_with_its_decoder_only(
    tmp_path: Path,
) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.BartConfig().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"encoder-decoder \(bart\), expected a causal"):
        load_model(locate_model(str(tmp_path)), "float32", "cpu")
