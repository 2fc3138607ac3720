"""Feeds tokens of many conversations to a model, and keeps what it computed of them.

`make_decoder` chooses: one packed row over a paged cache for models whose attention can be
replaced, and else each conversation by itself with the model's own cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from atlas.models.local.paged_attention import (
    NAME,
    PAGE,
    PLAN,
    FeedPlan,
    PagedSequence,
    Pages,
    paged_attention,
)

# Layers that the paged attention computes.
KNOWN_LAYERS = {"full_attention", "sliding_attention"}
# Tokens of the check that the paged attention gives the model's own results: they fill a page and
# a part of another.
NUM_CHECKED = PAGE + 16
# The largest difference of a probability in that check: more than rounding in bfloat16.
TOLERANCE = 0.05


class Decoder(Protocol):
    """Keeps keys and values of conversations, each known by the object that `open` returns."""

    # Whether several conversations are computed together, and may start with a common prompt.
    shares: bool

    def open(self) -> Any:
        """A conversation without tokens."""
        ...

    def length(self, sequence: Any) -> int:
        """How many tokens of a conversation are kept."""
        ...

    def feed(self, fed: Sequence[tuple[Any, Sequence[int]]]) -> torch.Tensor:
        """Add tokens to conversations; returns logits after the last of each, [B, V] float32."""
        ...

    def cut(self, sequence: Any, length: int) -> None:
        """Forget all but the first `length` tokens, or all of them where that is not possible."""
        ...

    def copy(self, source: Any, length: int) -> Any:
        """A conversation that starts with the first `length` tokens of another one."""
        ...

    def close(self, sequence: Any) -> None:
        """Forget a conversation."""
        ...


def make_decoder(model: Any) -> Decoder:
    """The fastest decoder that gives the model's own results."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    return PagedDecoder(model, plain) if _can_page(model, plain) else SingleDecoder(model)


def _can_page(model: Any, plain: Any) -> bool:
    if not getattr(plain, "_supports_attention_backend", False):
        return False
    config = plain.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ())
    # Some layers of Gemma 3n and Gemma 4 read the keys of others.
    shares_keys = bool(getattr(config, "num_kv_shared_layers", None))
    if shares_keys or layers - KNOWN_LAYERS:
        return False
    # What a class declares is not always so.
    ids = [index * 7919 % config.vocab_size for index in range(NUM_CHECKED)]
    decoder = PagedDecoder(model, plain)
    own, other = decoder.open(), decoder.open()
    try:
        decoder.feed([(own, ids[:9]), (other, ids[3:8])])
        decoder.feed([(other, ids[:2]), (own, ids[9:-1])])
        found = decoder.feed([(own, ids[-1:]), (other, ids[:1])])[0]
    except Exception:
        # Any error of a foreign model's code means that it is not made for this.
        return False
    with torch.inference_mode():
        fed = torch.tensor([ids], device=model.device)
        expected = model(input_ids=fed, logits_to_keep=1).logits[0, -1].float()
    difference = torch.softmax(found, -1) - torch.softmax(expected, -1)
    return bool(difference.abs().max() < TOLERANCE)


class PagedDecoder:
    """All conversations in one row over a paged cache (paged_attention.py)."""

    shares = True

    def __init__(self, model: Any, plain: Any) -> None:
        import transformers

        transformers.AttentionInterface.register(NAME, paged_attention)
        self._model = model
        self._pages = Pages()
        parts = [part for part in plain.modules() if isinstance(part, transformers.PreTrainedModel)]
        self._configs = list({id(part.config): part.config for part in parts}.values())

    def open(self) -> PagedSequence:
        return PagedSequence()

    def length(self, sequence: PagedSequence) -> int:
        return sequence.length

    @torch.inference_mode()
    def feed(self, fed: Sequence[tuple[PagedSequence, Sequence[int]]]) -> torch.Tensor:
        for sequence, ids in fed:
            self._pages.extend(sequence, len(ids))
        counts = [len(ids) for _, ids in fed]
        device = self._model.device
        plan = FeedPlan(self._pages, [(sequence, len(ids)) for sequence, ids in fed], device)
        row = torch.from_numpy(np.concatenate([np.asarray(ids) for _, ids in fed])).to(device)
        with self._paged():
            output = self._model(
                input_ids=row[None],
                position_ids=plan.positions[None],
                use_cache=False,
                logits_to_keep=torch.from_numpy(np.cumsum(counts) - 1).to(device),
                **{PLAN: plan},
            )
        for sequence, ids in fed:
            sequence.length += len(ids)
        logits: torch.Tensor = output.logits[0].float()
        return logits

    def cut(self, sequence: PagedSequence, length: int) -> None:
        self._pages.cut(sequence, length)

    @torch.inference_mode()
    def copy(self, source: PagedSequence, length: int) -> PagedSequence:
        target = PagedSequence()
        self._pages.copy(source, target, length)
        return target

    def close(self, sequence: PagedSequence) -> None:
        self._pages.cut(sequence, 0)

    @contextmanager
    def _paged(self) -> Iterator[None]:
        """The attention of the model is the paged one; without a mask, as for servers."""
        usual = [config._attn_implementation_internal for config in self._configs]
        for config in self._configs:
            config._attn_implementation_internal = NAME
        try:
            yield
        finally:
            for config, name in zip(self._configs, usual, strict=True):
                config._attn_implementation_internal = name


@dataclass(slots=True)
class _OwnCache:
    ids: list[int]
    cache: Any = None


class SingleDecoder:
    """One conversation at a time, with the model's own cache: recurrent layers and others.

    The whole history is read again at each turn, since recurrent layers cannot continue with
    several tokens.
    """

    shares = False

    def __init__(self, model: Any) -> None:
        self._model = model

    def open(self) -> _OwnCache:
        return _OwnCache([])

    def length(self, sequence: _OwnCache) -> int:
        return len(sequence.ids)

    @torch.inference_mode()
    def feed(self, fed: Sequence[tuple[_OwnCache, Sequence[int]]]) -> torch.Tensor:
        return torch.stack([self._feed(sequence, ids) for sequence, ids in fed])

    def _feed(self, sequence: _OwnCache, ids: Sequence[int]) -> torch.Tensor:
        if len(ids) > 1:
            sequence.cache = None
        sequence.ids += ids
        new = sequence.ids if sequence.cache is None else ids
        row = torch.tensor([list(new)], device=self._model.device)
        output = self._model(
            input_ids=row, past_key_values=sequence.cache, use_cache=True, logits_to_keep=1
        )
        # A model without such a cache reads all tokens again.
        sequence.cache = getattr(output, "past_key_values", None)
        logits: torch.Tensor = output.logits[0, -1].float()
        return logits

    def cut(self, sequence: _OwnCache, length: int) -> None:
        if length < len(sequence.ids):
            # Recurrent states cannot go back.
            sequence.ids, sequence.cache = [], None

    def copy(self, source: _OwnCache, length: int) -> _OwnCache:
        raise NotImplementedError

    def close(self, sequence: _OwnCache) -> None:
        sequence.cache = None
