"""Attention of many conversations over one paged key-value cache.

The tokens of one forward pass are one row without padding: a piece of several tokens of some
conversations, and a single token of others. Keys and values are in pages of `PAGE` tokens, and each
page belongs to one conversation. Single tokens are answered together: each page is multiplied with
the query of its owner, and the results of the pages of a conversation are merged, so that
conversations of any length share one product without copies. A piece is computed by itself over its
own pages.

The model calls `paged_attention` through transformers' attention interface. Its results equal
those of the usual attention, except for rounding.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

# The name of this attention in transformers' interface, and of its argument.
NAME, PLAN = "atlas_paged", "atlas_plan"
# Tokens of a page. Smaller pages need more products, larger ones leave more columns unused.
PAGE = 64
# A conversation's own pages are copied together if less than this share of all pages is needed.
FEW = 1 / 3
# Arguments of attention layers that choose columns in ways that are not supported here.
UNSUPPORTED = ("position_bias", "indices", "block_indices")

Layer = tuple[torch.Tensor, torch.Tensor]


@dataclass(slots=True)
class PagedSequence:
    """The pages of a conversation, in order; its first `length` tokens are stored in them."""

    pages: list[int] = field(default_factory=list)
    length: int = 0


class Pages:
    """Keys and values [pages, heads, PAGE, size] of all layers, and which pages are free."""

    def __init__(self) -> None:
        self.layers: dict[int, Layer] = {}
        # The sliding windows of the layers that were computed; None: no window.
        self.windows: set[int | None] = set()
        self._capacity = 0
        self._free: list[int] = []

    def extend(self, sequence: PagedSequence, num_tokens: int) -> None:
        """Give a sequence the pages for `num_tokens` more tokens."""
        while len(sequence.pages) * PAGE < sequence.length + num_tokens:
            if not self._free:
                self._grow()
            # The lowest page, so that the pages in use stay together.
            sequence.pages.append(heapq.heappop(self._free))

    def cut(self, sequence: PagedSequence, length: int) -> None:
        """Keep only the first `length` tokens of a sequence."""
        sequence.length = length
        while (len(sequence.pages) - 1) * PAGE >= length and sequence.pages:
            heapq.heappush(self._free, sequence.pages.pop())

    def copy(self, source: PagedSequence, target: PagedSequence, length: int) -> None:
        """Make an empty sequence start with the first `length` tokens of another one."""
        self.extend(target, length)
        places = torch.tensor(source.pages[: len(target.pages)]), torch.tensor(target.pages)
        for states in (state for layer in self.layers.values() for state in layer):
            states[places[1].to(states.device)] = states[places[0].to(states.device)]
        target.length = length

    def store(self, index: int, plan: FeedPlan, keys: torch.Tensor, values: torch.Tensor) -> Layer:
        """Write the new keys and values [heads, N, size] of a layer; returns all its pages."""
        if index not in self.layers:
            self.layers[index] = (self._room(keys), self._room(values))
        for states, new in zip(self.layers[index], (keys, values), strict=True):
            states[plan.page, :, plan.offset] = new.transpose(0, 1)
        return self.layers[index]

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        return like.new_zeros((self._capacity, like.shape[0], PAGE, like.shape[2]))

    def _grow(self) -> None:
        more = max(16, self._capacity // 2)
        self._free += range(self._capacity, self._capacity + more)
        self._capacity += more
        for index, layer in self.layers.items():
            self.layers[index] = tuple(  # type: ignore[assignment]
                torch.cat([states, states.new_zeros((more, *states.shape[1:]))]) for states in layer
            )


@dataclass(slots=True)
class _Piece:
    """Tokens `start` to `stop` of the row: several tokens of one sequence after `past` others."""

    start: int
    stop: int
    past: int
    pages: list[int]
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, device: torch.device) -> torch.Tensor:
        """Which columns each token attends to, [L, T]."""
        if window not in self.masks:
            columns = torch.arange(self.past + self.stop - self.start, device=device)
            own = columns[self.past :, None]
            mask = columns <= own
            if window is not None:
                mask &= columns > own - window
            self.masks[window] = mask
        return self.masks[window]


class FeedPlan:
    """Where the tokens of one forward pass are in the row and in the pages.

    Args:
        fed: sequences, and the number of new tokens of each, in the order of the row. The pages for
            the new tokens must be there.
    """

    def __init__(
        self, pages: Pages, fed: Sequence[tuple[PagedSequence, int]], device: torch.device
    ) -> None:
        self.pages = pages
        self.device = device
        places, offsets, positions, singles = [], [], [], []
        self.pieces: list[_Piece] = []
        self._owners: list[PagedSequence] = []
        start = 0
        for sequence, count in fed:
            own = np.arange(sequence.length, sequence.length + count)
            positions.append(own)
            places.append(np.array(sequence.pages)[own // PAGE])
            offsets.append(own % PAGE)
            if count == 1:
                singles.append(start)
                self._owners.append(sequence)
            else:
                piece = _Piece(start, start + count, sequence.length, list(sequence.pages))
                self.pieces.append(piece)
            start += count
        self.page, self.offset, self.positions = (
            torch.from_numpy(np.concatenate(parts)).to(device)
            for parts in (places, offsets, positions)
        )
        self.num_tokens = start
        self.singles = torch.tensor(singles, dtype=torch.long, device=device)
        self._masks: dict[int | None, torch.Tensor] = {}
        if singles:
            self._place_singles()

    def _place_singles(self) -> None:
        used = [page for sequence in self._owners for page in sequence.pages]
        top = max(used) + 1
        # The pages to compute with: the first ones, or only the chosen ones.
        self.chosen: torch.Tensor | slice = slice(0, top)
        slot_of = np.arange(top)
        if len(used) < FEW * top:
            self.chosen = torch.tensor(used, device=self.device)
            slot_of[used] = np.arange(len(used))
            top = len(used)
        owner = np.zeros(top, dtype=np.int64)
        # The position of each column in its sequence; none in pages of no owner.
        column = np.full((top, PAGE), np.iinfo(np.int32).max, dtype=np.int64)
        widest = max(len(sequence.pages) for sequence in self._owners)
        table = np.zeros((len(self._owners), widest), dtype=np.int64)
        is_own = np.zeros(table.shape, dtype=np.float32)
        for row, sequence in enumerate(self._owners):
            slots = slot_of[sequence.pages]
            owner[slots] = row
            column[slots] = np.arange(len(slots) * PAGE).reshape(len(slots), PAGE)
            table[row] = slots[0]
            table[row, : len(slots)] = slots
            is_own[row, : len(slots)] = 1
        last = np.array([sequence.length for sequence in self._owners])
        self.owner, self.table, self._last, self._column = (
            torch.from_numpy(each).to(self.device) for each in (owner, table, last, column)
        )
        self.is_own = torch.from_numpy(is_own).to(self.device)

    def page_mask(self, window: int | None) -> torch.Tensor:
        """0 in columns that a page's owner attends to, else minus infinity: [U, 1, 1, PAGE]."""
        if window not in self._masks:
            last = self._last[self.owner][:, None]
            seen = self._column <= last
            if window is not None:
                seen &= self._column > last - window
            mask = torch.zeros(seen.shape, device=self.device).masked_fill_(~seen, -torch.inf)
            self._masks[window] = mask[:, None, None]
        return self._masks[window]

    @cached_property
    def has_only_singles(self) -> bool:
        return not self.pieces


@dataclass(frozen=True, slots=True)
class _Scoring:
    """How a layer computes its scores.

    `sinks` [heads]: a score of each head that takes part in the softmax without a value.
    """

    scaling: float
    window: int | None
    softcap: float | None
    sinks: torch.Tensor | None

    def capped(self, scores: torch.Tensor) -> torch.Tensor:
        return scores if self.softcap is None else torch.tanh(scores / self.softcap) * self.softcap


def paged_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Store the new keys and values, and attend: [1, heads, N, size] -> [1, N, heads, size].

    Raises:
        NotImplementedError: the layer chooses its columns in a way that is not supported.
    """
    plan: FeedPlan = others[PLAN]
    if attention_mask is not None or any(others.get(name) is not None for name in UNSUPPORTED):
        raise NotImplementedError
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scoring = _Scoring(scaling, sliding_window, softcap, s_aux)
    plan.pages.windows.add(sliding_window)
    layer = plan.pages.store(module.layer_idx, plan, key[0], value[0])
    if plan.has_only_singles:
        return _attend_singles(plan, layer, query[0].transpose(0, 1), scoring)[None], None
    shape = (plan.num_tokens, query.shape[1], value.shape[-1])
    output = query.new_empty(shape)
    if len(plan.singles):
        queries = query[0, :, plan.singles].transpose(0, 1)
        output[plan.singles] = _attend_singles(plan, layer, queries, scoring)
    for piece in plan.pieces:
        own = query[:, :, piece.start : piece.stop]
        output[piece.start : piece.stop] = _attend_piece(piece, layer, own, scoring)
    return output[None], None


def _attend_singles(
    plan: FeedPlan, layer: Layer, query: torch.Tensor, scoring: _Scoring
) -> torch.Tensor:
    """The attention of single tokens, one per sequence: [R, heads, size] -> the same shape."""
    keys, values = (states[plan.chosen] for states in layer)
    # Query heads that share keys are rows of one product: [R, key heads, group, size].
    num_rows, _, size = query.shape
    grouped = (query * scoring.scaling).reshape(num_rows, keys.shape[1], -1, size)
    scores = torch.matmul(grouped[plan.owner], keys.transpose(-1, -2)).float()
    scores = scoring.capped(scores).add_(plan.page_mask(scoring.window))
    highest = scores.amax(-1)[plan.table].amax(1)
    if scoring.sinks is not None:
        sinks = scoring.sinks.float().view(1, keys.shape[1], -1)
        highest = torch.maximum(highest, sinks)
    weights = scores.sub_(highest[plan.owner][..., None]).exp_()
    sums = torch.einsum("rp,rpkg->rkg", plan.is_own, weights.sum(-1)[plan.table])
    if scoring.sinks is not None:
        sums += torch.exp(sinks - highest)
    products = torch.matmul(weights.to(values.dtype), values).float()[plan.table]
    merged = torch.einsum("rp,rpkgd->rkgd", plan.is_own, products)
    return (merged / sums[..., None]).flatten(1, 2).to(query.dtype)


def _attend_piece(
    piece: _Piece, layer: Layer, query: torch.Tensor, scoring: _Scoring
) -> torch.Tensor:
    """The attention of several tokens of a sequence: [1, heads, L, size] -> [L, heads, size]."""
    length = piece.past + piece.stop - piece.start
    needed = piece.pages[: -(-length // PAGE)]
    keys, values = (
        torch.cat([states[page] for page in needed], dim=1)[:, :length] for states in layer
    )
    mask = piece.mask(scoring.window, query.device)
    is_plain = scoring.softcap is None and scoring.sinks is None
    if is_plain and (query.is_cuda or query.dtype != torch.bfloat16):
        output = F.scaled_dot_product_attention(
            query,
            keys[None],
            values[None],
            attn_mask=mask,
            scale=scoring.scaling,
            enable_gqa=query.shape[1] != keys.shape[0],
        )
        return output[0].transpose(0, 1)
    # In bfloat16 on a CPU, products over all columns take a third of the time.
    num_new, num_kept = mask.shape
    grouped = (query[0] * scoring.scaling).reshape(keys.shape[0], -1, query.shape[-1])
    scores = torch.matmul(grouped, keys.transpose(-1, -2)).float()
    scores = scoring.capped(scores).view(-1, num_new, num_kept).masked_fill_(~mask, -torch.inf)
    if scoring.sinks is not None:
        sinks = scoring.sinks.float()[:, None, None].expand(-1, num_new, 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = torch.softmax(scores, dim=-1)[..., :num_kept].to(values.dtype)
    output = torch.matmul(weights.view(keys.shape[0], -1, num_kept), values)
    return output.view(-1, num_new, values.shape[-1]).transpose(0, 1)
