"""Feeds tokens of many conversations to a model, and keeps what it computed of them.

`make_decoder` chooses: one packed row over a paged cache for models whose attention can be
replaced, and else each conversation by itself with the model's own cache.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from atlas.errors import ModelError
from atlas.models.local.paged_attention import (
    NAME,
    PAGE,
    PLAN,
    FeedPlan,
    PagedSequence,
    Pages,
    paged_attention,
)
from atlas.terminal.progress import say

# Layers that the paged attention computes.
KNOWN_LAYERS = {"full_attention", "sliding_attention"}
# What models call the argument for their cache, and the field of their output.
CACHES = ("past_key_values", "cache_params", "state")
# Tokens of the check that the paged attention gives the model's own results: they fill a page and
# a part of another.
NUM_CHECKED = PAGE + 16
# The largest difference in that check, as a share of the spread of the logits: rounding in float32,
# and in bfloat16, where it can choose another expert.
TOLERANCE = {True: 0.01, False: 0.3}
# The same difference of half of the tokens, which rounding does not reach.
NOT_CAUSAL = 0.1


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


def make_decoder(model: Any, max_context: int = 0) -> Decoder:
    """The fastest decoder that gives the model's own results.

    Args:
        max_context: the longest history in tokens, the answer included.

    Raises:
        ModelError: what a history says later changes what the model computed of its beginning.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    check = _Check(model, plain)
    turning = _turning_length(plain.config)
    if max_context <= turning and _can_page(plain) and check.passes_paged():
        return PagedDecoder(model, plain)
    say(
        f"{type(plain).__name__} is decoded one conversation at a time, which is slow: its layers "
        "cannot be computed over pages. A server such as vLLM is faster (--base-url)."
    )
    if check.passes(lambda: SingleDecoder(model)):
        return SingleDecoder(model, turning=turning)
    say(
        f"The cache of {type(plain).__name__} does not give its own results, so that its whole "
        "history is read again for each token."
    )
    return SingleDecoder(model, keeps_cache=False)


def _can_page(plain: Any) -> bool:
    """Whether the classes of a model say that its attention can be replaced."""
    if not getattr(plain, "_supports_attention_backend", False):
        return False
    config = plain.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ())
    # Some layers of Gemma 3n and Gemma 4 read the keys of others.
    shares_keys = bool(getattr(config, "num_kv_shared_layers", None))
    return not shares_keys and layers <= KNOWN_LAYERS


def _turning_length(config: Any) -> float:
    """The longest history whose tokens are rotated as in shorter ones.

    Only "dynamic" and "longrope" have one. They take the longest history of a row for all.
    """
    config = config.get_text_config()
    parameters = getattr(config, "rope_parameters", None) or {}
    of_kinds = [each for each in parameters.values() if isinstance(each, dict)]
    lengths = [
        each.get("original_max_position_embeddings") or config.max_position_embeddings
        for each in (parameters, *of_kinds)
        if each.get("rope_type") in ("dynamic", "longrope")
    ]
    return min(lengths, default=math.inf)


class _Check:
    """Compares a decoder with the model itself: what a class declares is not always so."""

    def __init__(self, model: Any, plain: Any) -> None:
        size = plain.config.get_text_config().vocab_size
        self._model, self._plain = model, plain
        self._ids = [index * 7919 % size for index in range(NUM_CHECKED)]
        with torch.inference_mode():
            fed = torch.tensor([self._ids], device=model.device)
            self._expected = [
                model(input_ids=fed[:, :length], use_cache=False).logits[0].float()
                for length in (NUM_CHECKED, PAGE)
            ]
        if _distance(self._expected[0][:PAGE], self._expected[1]).median() > NOT_CAUSAL:
            raise ModelError(
                f"{type(plain).__name__} is not a causal model: later tokens change what it "
                "computed of earlier ones, so it cannot continue a text. Give a model that can."
            )
        self._tolerance = TOLERANCE[model.dtype is torch.float32]

    def passes_paged(self) -> bool:
        """Whether the paged decoder gives the model's own results, also in longer histories."""
        decoder = PagedDecoder(self._model, self._plain)
        window = getattr(self._plain.config.get_text_config(), "sliding_window", None)
        # PhiMoE has windows only in its mask, which the paged attention does not get.
        return self.passes(lambda: decoder) and (window is None or decoder.finds_windows)

    def passes(self, make: Callable[[], Decoder]) -> bool:
        """Whether a decoder gives the model's own results while it decodes another history."""
        ids = self._ids
        try:
            decoder = make()
            own, other = decoder.open(), decoder.open()
            decoder.feed([(own, ids[:9]), (other, ids[3:8])])
            decoder.feed([(other, ids[:2]), (own, ids[9 : PAGE - 1])])
            found = [decoder.feed([(own, [ids[PAGE - 1]]), (other, ids[:1])])[0]]
            decoder.feed([(other, ids[:1]), (own, ids[PAGE:-1])])
            found += [decoder.feed([(own, ids[-1:]), (other, ids[:1])])[0]]
        except Exception:
            # Any error of a foreign model's code means that it is not made for this.
            return False
        expected = torch.stack([self._expected[1][-1], self._expected[0][-1]])
        return bool(_distance(torch.stack(found), expected).max() < self._tolerance)


def _distance(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """The differences of logits [N, V] as a share of how much logits differ, [N]."""
    spread = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
    distance: torch.Tensor = (found - expected).norm(dim=-1) / spread.clamp(min=1e-9)
    return distance


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

    @property
    def finds_windows(self) -> bool:
        """Whether a layer of those that were computed had a sliding window."""
        return any(window is not None for window in self._pages.windows)

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

    Args:
        keeps_cache: whether the model's cache is used; if not, all tokens are read again for each.
        turning: the length (`_turning_length`) from which on a cache is of no use.
    """

    shares = False

    def __init__(self, model: Any, keeps_cache: bool = True, turning: float = math.inf) -> None:
        self._model = model
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        known = inspect.signature(plain.forward).parameters
        self._turning = turning
        self._cache_name = next((name for name in CACHES if keeps_cache and name in known), None)
        # Some count the positions of new tokens from 0 if they are not given.
        self._gives_positions = "position_ids" in known

    def open(self) -> _OwnCache:
        return _OwnCache([])

    def length(self, sequence: _OwnCache) -> int:
        return len(sequence.ids)

    @torch.inference_mode()
    def feed(self, fed: Sequence[tuple[_OwnCache, Sequence[int]]]) -> torch.Tensor:
        return torch.stack([self._feed(sequence, ids) for sequence, ids in fed])

    def _feed(self, sequence: _OwnCache, ids: Sequence[int]) -> torch.Tensor:
        sequence.ids += ids
        if len(ids) > 1 or len(sequence.ids) > self._turning:
            sequence.cache = None
        new = sequence.ids if sequence.cache is None else ids
        device, length = self._model.device, len(sequence.ids)
        given: dict[str, Any] = {"use_cache": self._cache_name is not None}
        if self._cache_name is not None and sequence.cache is not None:
            given[self._cache_name] = sequence.cache
        if self._gives_positions:
            given["position_ids"] = torch.arange(length - len(new), length, device=device)[None]
        output = self._model(
            input_ids=torch.tensor([list(new)], device=device), logits_to_keep=1, **given
        )
        if self._cache_name is not None:
            sequence.cache = getattr(output, self._cache_name, None)
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
