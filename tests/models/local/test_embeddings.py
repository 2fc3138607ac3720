from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import atlas.models.local.embeddings as embeddings
from atlas.errors import ModelError
from atlas.models.local.embeddings import MAX_TOKENS, load_embedder

TEXTS = ["open the door", "go", "", "go to the red ball and open the door with the key " * 8, "go"]
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.fixture(scope="module")
def bert_folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, which sees both sides of a token."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    transformers.BertModel(
        transformers.BertConfig(vocab_size=len(tokenizer), **SHAPE)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(params=["decoder", "encoder"])
def folder(request: pytest.FixtureRequest, tiny_model_folder: Path, bert_folder: Path) -> Path:
    return tiny_model_folder if request.param == "decoder" else bert_folder


def embed_alone(folder: Path, text: str) -> np.ndarray[Any, Any]:
    """The mean of the last hidden states, of one text without padding, of length 1."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        mean = (
            model(torch.tensor([tokenizer(text)["input_ids"]]))
            .last_hidden_state[0]
            .double()
            .mean(0)
            .numpy()
        )
    return np.asarray(mean / np.linalg.norm(mean))


def test_an_embedding_is_the_mean_hidden_state_whatever_stands_beside_it_in_the_batch(
    folder: Path,
) -> None:
    vectors = load_embedder(str(folder)).embed(TEXTS)
    for vector, text in zip(vectors, TEXTS, strict=True):
        np.testing.assert_allclose(
            vector, embed_alone(folder, text) if text else np.zeros(32), atol=2e-6
        )


def test_batches_are_cut_by_tokens_and_keep_the_order(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_embedder(str(tiny_model_folder)).embed(TEXTS)
    monkeypatch.setattr(embeddings, "BATCH_TOKENS", 1)
    np.testing.assert_allclose(load_embedder(str(tiny_model_folder)).embed(TEXTS), whole, atol=2e-6)
    assert load_embedder(str(tiny_model_folder)).embed([]).shape == (0, 32)


def test_a_long_text_is_cut_at_its_end(folder: Path) -> None:
    embedder = load_embedder(str(folder))
    long, longer = embedder.embed(["door " * MAX_TOKENS, "door " * MAX_TOKENS + "ball " * 1_000])
    np.testing.assert_allclose(long, longer, atol=2e-6)


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT 0.21 under transformers 5.23
def test_low_rank_adapters_count(tiny_model_folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
    )
    adapted.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_model_folder).save_pretrained(tmp_path)
    merged = tmp_path / "merged"
    adapted.merge_and_unload().save_pretrained(merged)
    transformers.AutoTokenizer.from_pretrained(tiny_model_folder).save_pretrained(merged)
    vector = load_embedder(str(tmp_path)).embed(TEXTS[:1])[0]
    np.testing.assert_allclose(vector, embed_alone(merged, TEXTS[0]), atol=2e-6)
    assert np.abs(vector - embed_alone(tiny_model_folder, TEXTS[0])).max() > 1e-3


def test_what_cannot_embed_is_a_clear_error(tokenizer: Any, tmp_path: Path) -> None:
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2
    )
    transformers.T5Model(config).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match="gives no hidden states for a single text"):
        load_embedder(str(tmp_path / "t5"))
    with pytest.raises(ModelError, match="does not exist"):
        load_embedder(str(tmp_path / "nothing"))
    (tmp_path / "t5" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be loaded to embed"):
        load_embedder(str(tmp_path / "t5"))
