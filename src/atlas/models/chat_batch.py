"""Many conversations answered together by one local model, the keys and values of earlier turns kept.

At each round a conversation brings only what is new to it (an observation); its history lies in the cache already.
Rows are repacked before each round: closed conversations leave, new ones join, and the gaps that unequal answers left
are taken out, so that every row is its own history, aligned to the right. Positions are explicit, masked columns are
never attended to, and each conversation draws from its own random stream: what one says does not depend on the others
beyond rounding.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from atlas.records import Message
from atlas.rendering.renderer import Renderer


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `finish` is "stop" (end of turn), "length" (max_tokens) or "context" (no room left; text is empty)."""

    text: str
    num_prompt_tokens: int
    num_tokens: int
    finish: Literal["stop", "length", "context"]


@dataclass(slots=True)
class _Conversation:
    messages: list[Message]
    rng: np.random.Generator
    num_cached: int = 0  # tokens whose keys and values are in the cache
    pending: list[int] = field(default_factory=list)  # tokens said but not yet in the cache
    row: int | None = None  # its row in the cache as it is now


class ChatBatch:
    """A set of open conversations with one model.

    Args:
        model: a Hugging Face causal LM in evaluation mode.
        renderer: writes conversations with the model's own chat template.
        temperature: 0 is greedy.
        max_tokens: the longest answer in tokens.
        max_context: the longest history in tokens, the answer included.
        seed: starts each conversation's random stream, together with its name.
    """

    def __init__(self, model: Any, renderer: Renderer, *, temperature: float, max_tokens: int, max_context: int, seed: int = 0) -> None:
        self._model = model
        self._renderer = renderer
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._max_context = max_context
        self._seed = seed
        self._conversations: dict[str, _Conversation] = {}
        self._cache: Cache | None = None
        self._mask = torch.zeros((0, 0), dtype=torch.bool)  # [B, T] which columns of the cache are a row's own
        self._keeps_cache = _attends_to_everything(model)

    def close(self, name: str) -> None:
        """Forget a conversation; its row is freed at the next round."""
        self._conversations.pop(name, None)

    def respond(self, new_messages: Mapping[str, Sequence[Message]]) -> dict[str, Reply]:
        """One answer for each named conversation after its new messages; an unknown name opens a conversation."""
        replies: dict[str, Reply] = {}
        new_ids: dict[str, list[int]] = {}
        for name, messages in new_messages.items():
            ids = self._take_in(name, messages)
            conversation = self._conversations[name]
            if conversation.num_cached + len(ids) + self._max_tokens > self._max_context:
                replies[name] = Reply("", conversation.num_cached + len(ids), 0, "context")
                self.close(name)
            else:
                new_ids[name] = ids
        if new_ids:
            replies |= self._answer(new_ids)
        return replies

    def _take_in(self, name: str, messages: Sequence[Message]) -> list[int]:
        """The tokens that a conversation brings to this round; its history is updated."""
        conversation = self._conversations.get(name)
        if conversation is None:
            rng = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
            conversation = self._conversations[name] = _Conversation([], rng)
        added = (
            self._renderer.continuation_ids(conversation.messages, messages) if conversation.row is not None and self._keeps_cache else None
        )
        conversation.messages += messages
        if added is None:  # new, or a history that the template rewrites: encode it whole
            conversation.row, conversation.num_cached, conversation.pending = None, 0, []
            return self._renderer.opening_ids(conversation.messages)
        return conversation.pending + added

    @torch.inference_mode()
    def _answer(self, new_ids: Mapping[str, list[int]]) -> dict[str, Reply]:
        names = list(new_ids)
        rows = [self._conversations[name] for name in names]
        self._repack(names)
        width = max(len(ids) for ids in new_ids.values())
        block = np.full((len(names), width), self._pad_id, dtype=np.int64)
        is_new = np.zeros((len(names), width), dtype=bool)
        positions = np.zeros((len(names), width), dtype=np.int64)
        for index, (name, ids) in enumerate(new_ids.items()):
            block[index, width - len(ids) :] = ids
            is_new[index, width - len(ids) :] = True
            start = self._conversations[name].num_cached
            positions[index, width - len(ids) :] = np.arange(start, start + len(ids))
        lengths = np.array([row.num_cached for row in rows]) + is_new.sum(axis=1)
        prompt_lengths = lengths.copy()
        logits = self._forward(block, is_new, positions)

        said: list[list[int]] = [[] for _ in names]
        active = np.ones(len(names), dtype=bool)
        stop_ids = self._renderer.stop_ids
        while True:
            tokens = self._choose(logits, rows, active)
            for row in np.flatnonzero(active).tolist():
                said[row].append(int(tokens[row]))
                if tokens[row] in stop_ids or len(said[row]) >= self._max_tokens:
                    active[row] = False
            if not active.any():
                break
            logits = self._forward(np.where(active, tokens, self._pad_id)[:, None], active[:, None], lengths[:, None])
            lengths += active
        return {name: self._finish(name, said[row], int(lengths[row]), int(prompt_lengths[row])) for row, name in enumerate(names)}

    def _finish(self, name: str, said: list[int], num_cached: int, num_prompt: int) -> Reply:
        conversation = self._conversations[name]
        stopped = said[-1] in self._renderer.stop_ids
        text = self._renderer.tokenizer.decode(said[:-1] if stopped else said, skip_special_tokens=True)
        conversation.messages.append(Message(role="assistant", content=text))
        conversation.num_cached = num_cached
        # The last token was chosen but never fed; an answer cut by length still has to be closed.
        end_of_turn = self._renderer.end_of_turn
        conversation.pending = [*said[-1:], *(() if stopped else end_of_turn)]
        return Reply(text, num_prompt, len(said), "stop" if stopped else "length")

    def _forward(self, tokens: np.ndarray, is_new: np.ndarray, positions: np.ndarray) -> torch.Tensor:
        """Feed tokens [B, L] and return the logits of the last column, [B, V] in float32."""
        device = self._model.device
        self._mask = torch.cat([self._mask, torch.from_numpy(np.ascontiguousarray(is_new)).to(device)], dim=1)
        output = self._model(
            input_ids=torch.from_numpy(np.ascontiguousarray(tokens)).to(device),
            attention_mask=self._mask.long(),
            position_ids=torch.from_numpy(np.ascontiguousarray(positions)).to(device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _choose(self, logits: torch.Tensor, rows: Sequence[_Conversation], active: np.ndarray) -> np.ndarray:
        """The next token of each row, [B]; only active rows draw from their random stream."""
        if self._temperature == 0:
            return logits.argmax(dim=-1).cpu().numpy()
        scaled = torch.softmax(logits.double() / self._temperature, dim=-1).cumsum(dim=-1)
        draws = torch.tensor([row.rng.random() if on else 0.0 for row, on in zip(rows, active, strict=True)], dtype=torch.float64)
        chosen = torch.searchsorted(scaled, draws.to(scaled.device)[:, None], right=True)[:, 0]
        return chosen.clamp(max=logits.shape[-1] - 1).cpu().numpy()

    def _repack(self, names: Sequence[str]) -> None:
        """Make the cache hold exactly the rows of `names`, in that order, without gaps, aligned to the right.

        Open conversations that are not answered this round lose their keys and are encoded again when they return.
        """
        rows = [self._conversations[name] for name in names]
        height, width = len(rows), max((row.num_cached for row in rows), default=0)
        mask = torch.zeros((height, width), dtype=torch.bool, device=self._model.device)
        sources: list[torch.Tensor | None] = []
        for index, row in enumerate(rows):
            mask[index, width - row.num_cached :] = True
            sources.append(None if row.row is None else torch.nonzero(self._mask[row.row])[:, 0])
        layers = []
        for layer in self._cache.layers if self._cache is not None else []:
            packed = _GrowingLayer()
            packed.adopt(layer, [(row.row, source) for row, source in zip(rows, sources, strict=True)], width)
            layers.append(packed)
        self._cache = Cache(layers=layers) if layers else Cache(layer_class_to_replicate=_GrowingLayer)
        self._mask = mask
        for conversation in self._conversations.values():
            conversation.row = None
        for index, row in enumerate(rows):
            row.row = index

    @property
    def _pad_id(self) -> int:
        return next(iter(sorted(self._renderer.stop_ids)), 0)


class _GrowingLayer(DynamicLayer):
    """A cache layer that writes into room kept ahead, instead of copying everything at each token."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self._length = 0

    def adopt(self, layer: Any, sources: Sequence[tuple[int | None, torch.Tensor | None]], width: int) -> None:
        """Take over rows of another layer: for each new row its old row and the columns to keep, aligned to the right."""
        keys, values = layer.keys, layer.values
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        batch, capacity = len(sources), width + _ROOM
        self._room = (
            keys.new_zeros((batch, keys.shape[1], capacity, keys.shape[3])),
            values.new_zeros((batch, values.shape[1], capacity, values.shape[3])),
        )
        for row, (old_row, columns) in enumerate(sources):
            if old_row is not None and columns is not None:
                start = width - len(columns)
                self._room[0][row, :, start:width] = keys[old_row][:, columns]
                self._room[1][row, :, start:width] = values[old_row][:, columns]
        self._set_length(width)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        end = self._length + key_states.shape[2]
        if self._room is None or end > self._room[0].shape[2]:
            self._room = (self._enlarged(0, key_states, end), self._enlarged(1, value_states, end))
        self._room[0][:, :, self._length : end] = key_states
        self._room[1][:, :, self._length : end] = value_states
        self._set_length(end)
        return self.keys, self.values

    def _enlarged(self, which: int, states: torch.Tensor, end: int) -> torch.Tensor:
        larger = states.new_zeros((states.shape[0], states.shape[1], end + _ROOM, states.shape[3]))
        if self._room is not None:
            larger[:, :, : self._length] = self._room[which][:, :, : self._length]
        return larger

    def _set_length(self, length: int) -> None:
        assert self._room is not None
        self._length = length
        self.keys, self.values = self._room[0][:, :, :length], self._room[1][:, :, :length]


_ROOM = 128  # columns kept ahead: about one observation and one answer


def _attends_to_everything(model: Any) -> bool:
    """Whether all layers attend to the whole history: only then do gaps in the cache not shift a window."""
    kinds = getattr(model.config, "layer_types", None)
    if kinds:
        return all(kind == "full_attention" for kind in kinds)
    return getattr(model.config, "sliding_window", None) is None
