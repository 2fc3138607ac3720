"""Text embeddings: the mean of a model's last hidden states over the tokens of a text.

Any encoder or decoder that AutoModel loads can be used; it is not trained. A text that exceeds the
model's maximum length is cut off at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.errors import ModelError
from atlas.models.local.hub import is_only_cached
from atlas.models.local.load import (
    import_transformers,
    load_model,
    load_tokenizer,
    loading_fault,
    locate_model,
)
from atlas.models.local.precision import Precision, default_device, dtype_name

# Maximum tokens of a text, if the limits of model and tokenizer are not lower.
MAX_TOKENS = 512
# Maximum tokens of a batch, padding included.
BATCH_TOKENS = 8_192

Floats = NDArray[np.float64]


class Embedder:
    """A loaded model, called `name` in messages."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.name = name
        positions = getattr(model.config, "max_position_embeddings", None)
        # Tokenizers without a limit report a huge number.
        self._max_tokens = min(MAX_TOKENS, tokenizer.model_max_length, positions or MAX_TOKENS)

    @property
    def size(self) -> int:
        """The number of dimensions of a vector."""
        return int(self._model.config.hidden_size)

    def embed(self, texts: Sequence[str]) -> Floats:
        """Vectors [texts, size] of length 1, or 0 for a text without tokens. Deterministic."""
        vectors = np.zeros((len(texts), self.size))
        if not texts:
            return vectors
        encoded = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)
        tokens = encoded["input_ids"]
        filled = [index for index in range(len(texts)) if tokens[index]]
        by_length = sorted(filled, key=lambda index: len(tokens[index]))
        while by_length:
            longest = len(tokens[by_length[-1]])
            count = max(1, BATCH_TOKENS // longest)
            batch, by_length = by_length[-count:], by_length[:-count]
            vectors[batch] = self._means([tokens[index] for index in batch])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1)

    @torch.inference_mode()
    def _means(self, batch: Sequence[Sequence[int]]) -> Floats:
        """[B, size]: the mean hidden state of each sequence, without its padding at the right."""
        device = self._model.device
        ids = torch.zeros((len(batch), max(map(len, batch))), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(batch):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        ids, mask = ids.to(device), mask.to(device)
        # [B, T, size]
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.double()
        weights = mask[:, :, None].double()
        means: Floats = ((hidden * weights).sum(1) / weights.sum(1)).cpu().numpy()
        return means


def load_embedder(name: str, precision: Precision = "auto") -> Embedder:
    """The embedder of a hub id, a model folder or a training run.

    Raises:
        ModelError: the model or tokenizer cannot be loaded, or the model is an encoder-decoder.
    """
    place = locate_model(name)
    transformers = import_transformers()
    dtype = dtype_name(precision)
    tokenizer = load_tokenizer(place)
    if place.holds_adapters:
        # Adapters of a causal LM do not fit the bare model under it.
        model = load_model(place, dtype).merge_and_unload().base_model
    else:
        is_cached = is_only_cached(place.location)
        # Damaged files raise errors of several libraries.
        try:
            model = transformers.AutoModel.from_pretrained(
                place.location,
                dtype=getattr(torch, dtype),
                local_files_only=is_cached,
                trust_remote_code=False,
            )
        except Exception as error:
            reason = loading_fault(error)
            raise ModelError(f"model {name} cannot be loaded to embed texts: {reason}") from error
        model = model.to(default_device()).eval()
    if model.config.is_encoder_decoder or not hasattr(model.config, "hidden_size"):
        raise ModelError(
            f"model {name} ({type(model).__name__}) gives no hidden states for a single text. Name "
            "an encoder or a decoder, such as sentence-transformers/all-MiniLM-L6-v2."
        )
    return Embedder(model, tokenizer, name)
