"""Answers many conversations in batches with one local model and a key-value cache.

In each round, only new messages of a conversation (an observation) are encoded; its history is
already in the cache. Rows are repacked before each batch: closed conversations are removed, new
ones are added, and gaps from answers of different lengths are removed. Then each row holds one
history, aligned to the right. When half of the rows of a batch have finished their answers, the
others continue without them. Positions are explicit, masked columns are never attended to, and each
conversation has its own random stream. So an answer does not depend on the other rows, except for
rounding.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import starmap
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache

from atlas.models.local.growing_layer import GrowingLayer
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Usage
from atlas.rendering.count_unwritten import UnwrittenCount
from atlas.rendering.renderer import Renderer
from atlas.rendering.text_calls import read_text_calls, writes_text_calls
from atlas.rendering.unwritten import Part
from atlas.terminal.progress import say


@dataclass(slots=True)
class _Rows:
    """Keys and values of some conversations; `mask` [B, T] marks the columns that a row uses."""

    cache: Cache
    mask: torch.Tensor


@dataclass(slots=True)
class _OpenConversation:
    """An open conversation; the first `num_cached` of its tokens `ids` are in the cache.

    `place` says where its keys and values are: the rows, and the index of its row.
    """

    messages: list[Message]
    tools: Sequence[Mapping[str, Any]]
    rng: np.random.Generator
    ids: list[int] = field(default_factory=list)
    num_cached: int = 0
    lost: set[Part] = field(default_factory=set)
    place: tuple[_Rows, int] | None = None


class ChatBatch:
    """The open conversations with one model.

    Args:
        model: a Hugging Face causal LM in evaluation mode.
        temperature: 0 is greedy.
        max_tokens: the longest answer in tokens.
        max_context: the longest history in tokens, the answer included.
        batch_size: how many conversations are answered at a time.
        seed: together with its name, the seed of a conversation's random stream.
    """

    def __init__(
        self,
        model: Any,
        renderer: Renderer,
        *,
        temperature: float,
        max_tokens: int,
        max_context: int,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        self._model = model
        self._renderer = renderer
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._max_context = max_context
        self._batch_size = batch_size
        self._seed = seed
        self._new_ids: dict[str, list[int]] = {}
        self._answers: dict[str, PlayerAnswer] = {}
        self._conversations: dict[str, _OpenConversation] = {}
        self._keeps_cache = _attends_to_everything(model)
        self._num_opened = 0
        self._lost: Counter[Part] = Counter()

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Request the next answer in conversation `name`; a new name opens a conversation."""
        if name not in self._conversations:
            rng = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
            self._conversations[name] = _OpenConversation([], tools, rng)
            self._num_opened += 1
        conversation = self._conversations[name]
        ids = self._take_in(conversation, new_messages)
        num_prompt = conversation.num_cached + len(ids)
        if num_prompt + self._max_tokens <= self._max_context:
            self._new_ids[name] = ids
            return
        del self._conversations[name]
        nothing, usage = Message(role="assistant"), Usage(input_tokens=num_prompt)
        reason = f"the history needs more than {self._max_context} tokens"
        self._answers[name] = PlayerAnswer(nothing, "no_room", reason, usage=usage)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        """The answers to all submitted requests, without a time limit."""
        answers, self._answers = self._answers, {}
        new_ids, self._new_ids = self._new_ids, {}
        names = list(new_ids)
        for start in range(0, len(names), self._batch_size):
            batch = names[start : start + self._batch_size]
            answers |= self._answer({name: new_ids[name] for name in batch})
        return answers

    def close(self, name: str) -> None:
        """Forget a conversation; its row is freed before the next batch."""
        for held in (self._conversations, self._new_ids, self._answers):
            held.pop(name, None)

    def end(self) -> None:
        """Forget all conversations."""
        for name in list(self._conversations):
            self.close(name)
        lost = UnwrittenCount(self._num_opened, of_contexts=self._lost)
        for note in lost.notes(self._renderer):
            say(note)
        self._num_opened, self._lost = 0, Counter()

    def _take_in(self, conversation: _OpenConversation, messages: Sequence[Message]) -> list[int]:
        """The tokens to feed for a conversation in this round. Updates its history."""
        tools, added = conversation.tools, None
        owned = [(message, 0) for message in (*conversation.messages[-1:], *messages)]
        lost = {*self._renderer.parts.of_context(owned, None, tools)} - conversation.lost
        conversation.lost |= lost
        self._lost.update(lost)
        if conversation.ids:
            added = self._renderer.continuation_ids(conversation.messages, messages, tools)
        conversation.messages += messages
        if added is None:
            # A new conversation, or one whose history the template rewrites, is encoded completely.
            conversation.ids = self._renderer.opening_ids(conversation.messages, tools)
        else:
            # What was generated stays as it is, because training has these tokens too.
            conversation.ids += added
        if added is None or not self._keeps_cache:
            conversation.place, conversation.num_cached = None, 0
        return conversation.ids[conversation.num_cached :]

    @torch.inference_mode()
    def _answer(self, new_ids: Mapping[str, list[int]]) -> dict[str, PlayerAnswer]:
        conversations = [self._conversations[name] for name in new_ids]
        rows = self._repack(conversations)
        starts = [conversation.num_cached for conversation in conversations]
        shape = (len(starts), max(len(ids) for ids in new_ids.values()))
        block = np.full(shape, self._pad_id, dtype=np.int64)
        is_new = np.zeros(shape, dtype=bool)
        positions = np.zeros(shape, dtype=np.int64)
        for index, (ids, start) in enumerate(zip(new_ids.values(), starts, strict=True)):
            block[index, -len(ids) :] = ids
            is_new[index, -len(ids) :] = True
            positions[index, -len(ids) :] = np.arange(start, start + len(ids))
        lengths = np.array(starts) + is_new.sum(axis=1)
        prompt_lengths = lengths.copy()
        logits = self._forward(rows, block, is_new, positions)

        said: list[list[int]] = [[] for _ in starts]
        # The conversations whose rows are in the cache, in the order of the arrays below, [B].
        present = np.arange(len(starts))
        active = np.ones(len(starts), dtype=bool)
        stop_ids = self._renderer.stop_ids
        while True:
            tokens = self._choose(logits, [conversations[index] for index in present], active)
            for row in np.flatnonzero(active).tolist():
                answer = said[present[row]]
                answer.append(int(tokens[row]))
                if tokens[row] in stop_ids or len(answer) >= self._max_tokens:
                    active[row] = False
            if not active.any():
                break
            if 2 * active.sum() <= len(active):
                present, tokens = present[active], tokens[active]
                kept = [conversations[index] for index in present]
                rows = self._narrowed(rows, np.flatnonzero(active), kept)
                active = active[active]
            fed = np.where(active, tokens, self._pad_id)[:, None]
            logits = self._forward(rows, fed, active[:, None], lengths[present][:, None])
            lengths[present] += active
        ended = zip(conversations, said, lengths.tolist(), prompt_lengths.tolist(), strict=True)
        return dict(zip(new_ids, starmap(self._finish, ended), strict=True))

    def _finish(
        self, conversation: _OpenConversation, said: list[int], num_cached: int, num_prompt: int
    ) -> PlayerAnswer:
        stopped = said[-1] in self._renderer.stop_ids
        words = said[:-1] if stopped else said
        text = self._renderer.tokenizer.decode(words, skip_special_tokens=True)
        message = Message(role="assistant", content=text)
        # The history keeps the calls as text, as the model wrote them.
        conversation.messages.append(message)
        if conversation.tools and self._reads_calls:
            message = read_text_calls(text, 100 * len(conversation.messages))
        conversation.num_cached = num_cached
        # An answer that was cut off still needs its end of turn.
        conversation.ids += [*said, *(() if stopped else self._renderer.end_of_turn)]
        usage = Usage(requests=1, input_tokens=num_prompt, output_tokens=len(said))
        return PlayerAnswer(message, "stop" if stopped else "length", usage=usage)

    def _forward(
        self, rows: _Rows, tokens: np.ndarray, is_new: np.ndarray, positions: np.ndarray
    ) -> torch.Tensor:
        """Run tokens [B, L] and add them to `rows`; returns the last logits, [B, V] float32."""
        fed, is_own, places = (
            torch.from_numpy(np.ascontiguousarray(array)).to(self._model.device)
            for array in (tokens, is_new, positions)
        )
        rows.mask = torch.cat([rows.mask, is_own], dim=1)
        output = self._model(
            input_ids=fed,
            attention_mask=rows.mask.long(),
            position_ids=places,
            past_key_values=rows.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _choose(
        self, logits: torch.Tensor, rows: Sequence[_OpenConversation], active: np.ndarray
    ) -> np.ndarray:
        """The next token of each row, [B]; only active rows draw from their random stream."""
        if self._temperature == 0:
            return logits.argmax(dim=-1).cpu().numpy()
        scaled = torch.softmax(logits.double() / self._temperature, dim=-1).cumsum(dim=-1)
        draws = torch.tensor(
            [row.rng.random() if on else 0.0 for row, on in zip(rows, active, strict=True)],
            dtype=torch.float64,
        )
        chosen = torch.searchsorted(scaled, draws.to(scaled.device)[:, None], right=True)[:, 0]
        return chosen.clamp(max=logits.shape[-1] - 1).cpu().numpy()

    def _repack(self, conversations: Sequence[_OpenConversation]) -> _Rows:
        """Make rows for exactly these conversations, in this order, without gaps.

        The rows of other open conversations do not change.
        """
        width = max(conversation.num_cached for conversation in conversations)
        shape = (len(conversations), width)
        mask = torch.zeros(shape, dtype=torch.bool, device=self._model.device)
        sources: list[tuple[Cache, int, torch.Tensor] | None] = []
        for index, conversation in enumerate(conversations):
            mask[index, width - conversation.num_cached :] = True
            if conversation.place is None:
                sources.append(None)
            else:
                rows, row = conversation.place
                sources.append((rows.cache, row, torch.nonzero(rows.mask[row])[:, 0]))
        known = next((source[0] for source in sources if source is not None), None)
        cache = Cache(layer_class_to_replicate=GrowingLayer)
        if known is not None:
            cache = Cache(layers=[GrowingLayer() for _ in known.layers])
        for index, packed in enumerate(cache.layers):
            old = [source and (source[0].layers[index], *source[1:]) for source in sources]
            packed.adopt(old, width)
        packed_rows = _Rows(cache, mask)
        for index, conversation in enumerate(conversations):
            conversation.place = (packed_rows, index)
        return packed_rows

    def _narrowed(
        self, rows: _Rows, kept: np.ndarray, conversations: Sequence[_OpenConversation]
    ) -> _Rows:
        """Reduce to the rows `kept`; other conversations keep their rows until the next round."""
        index = torch.from_numpy(kept).to(self._model.device)
        layers = []
        for layer in rows.cache.layers:
            narrow = GrowingLayer()
            narrow.take_rows(layer, index)
            layers.append(narrow)
        narrowed = _Rows(Cache(layers=layers), rows.mask[index])
        for row, conversation in enumerate(conversations):
            conversation.place = (narrowed, row)
        return narrowed

    @cached_property
    def _reads_calls(self) -> bool:
        return writes_text_calls(self._renderer)

    @property
    def _pad_id(self) -> int:
        return min(self._renderer.stop_ids, default=0)


def _attends_to_everything(model: Any) -> bool:
    """Whether no layer has a sliding window, which gaps in the cache would shift."""
    kinds = getattr(model.config, "layer_types", None)
    if kinds:
        return all(kind == "full_attention" for kind in kinds)
    return getattr(model.config, "sliding_window", None) is None
