"""What a text is about, as a vector: the mean of a Hugging Face model's last hidden states over the tokens of the text.

Any encoder or decoder that AutoModel loads. The model stays as it is (frozen); texts longer than it reads are cut at the end.
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
    Precision,
    default_device,
    import_transformers,
    load_model,
    locate_model,
    resolve_precision,
)

MAX_TOKENS = 512  # of a text, unless the model or its tokenizer reads fewer
BATCH_TOKENS = 8_192  # padding included
UNBOUNDED = 1_000_000  # tokenizers without a limit of their own name a huge one

Floats = NDArray[np.float64]


class Embedder:
    """A loaded model, called `name` in messages."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.name = name
        limits = (
            tokenizer.model_max_length,
            getattr(model.config, "max_position_embeddings", None),
        )
        self._max_tokens = min(
            [MAX_TOKENS, *(limit for limit in limits if limit and limit < UNBOUNDED)]
        )

    @property
    def size(self) -> int:
        """The number of dimensions of a vector."""
        return int(self._model.config.hidden_size)

    def embed(self, texts: Sequence[str]) -> Floats:
        """[texts, size], each row of length 1 (or 0, where a text has no token). The same texts give the same rows."""
        vectors = np.zeros((len(texts), self.size))
        if not texts:
            return vectors
        tokens = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)[
            "input_ids"
        ]
        by_length = sorted(
            (index for index in range(len(texts)) if tokens[index]),
            key=lambda index: len(tokens[index]),
        )
        while by_length:
            longest = len(tokens[by_length[-1]])
            count = max(1, BATCH_TOKENS // longest)
            batch, by_length = by_length[-count:], by_length[:-count]
            vectors[batch] = self._means([tokens[index] for index in batch])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1)

    @torch.inference_mode()
    def _means(self, batch: Sequence[Sequence[int]]) -> Floats:
        """[B, size]: the mean hidden state of each sequence; right-padded, the padding counted nowhere."""
        device = self._model.device
        shape = (len(batch), max(map(len, batch)))
        ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        for row, sequence in enumerate(batch):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        ids, mask = ids.to(device), mask.to(device)
        hidden = self._model(
            input_ids=ids, attention_mask=mask
        ).last_hidden_state.double()  # [B, T, size]
        weights = mask[:, :, None].double()
        means: Floats = ((hidden * weights).sum(1) / weights.sum(1)).cpu().numpy()
        return means


def load_embedder(name: str, precision: Precision = "auto") -> Embedder:
    """The embedder of a hub id, a model folder or a training run.

    Raises:
        ModelError: no model or no tokenizer there, or one that gives no hidden states for a text alone (encoder-decoders).
    """
    place = locate_model(name)
    transformers = import_transformers()
    is_cached = is_only_cached(place.location)
    dtype = "bfloat16" if resolve_precision(precision) == "bf16" else "float32"
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            place.location, local_files_only=is_cached
        )
        if (
            place.holds_adapters
        ):  # merged: adapters of a causal LM do not fit the bare model under it
            model = load_model(place, dtype).merge_and_unload().base_model
        else:
            model = transformers.AutoModel.from_pretrained(
                place.location, dtype=getattr(torch, dtype), local_files_only=is_cached
            )
            model = model.to(default_device()).eval()
    except ModelError:
        raise
    except Exception as error:  # torn files raise errors of several libraries
        raise ModelError(
            f"model {name} cannot be loaded to embed texts: {str(error).strip().splitlines()[0]}"
        ) from error
    if model.config.is_encoder_decoder or not hasattr(model.config, "hidden_size"):
        raise ModelError(
            f"model {name} ({type(model).__name__}) gives no hidden states for a text alone. Name an encoder or a decoder, such as "
            "sentence-transformers/all-MiniLM-L6-v2."
        )
    return Embedder(model, tokenizer, name)
