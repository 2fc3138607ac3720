"""Answers many conversations together with one local model, token by token.

Before each token, conversations may join: the new messages of one (an observation) are encoded in
the same forward pass in which others get their next token. Its history is already in the cache; a
new conversation takes the start that it shares with another one from there. An answer is returned
when it ends, while others go on. Each conversation has its own random stream. So an answer does not
depend on the other conversations, except for rounding.
"""

from __future__ import annotations

import zlib
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from atlas.models.local.decoders import Decoder, make_decoder
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Usage
from atlas.rendering.count_unwritten import UnwrittenCount
from atlas.rendering.renderer import Renderer
from atlas.rendering.text_calls import read_text_calls, writes_text_calls
from atlas.rendering.unwritten import Part
from atlas.terminal.progress import say

# The most tokens of histories in one forward pass, and of one conversation's: this bounds memory.
MAX_FED, MAX_PIECE = 2048, 512
# A shorter common start of two conversations is not worth a copy.
MIN_SHARED = 16


@dataclass(slots=True)
class _OpenConversation:
    """An open conversation with the tokens `ids`; the decoder knows the first ones by `sequence`.

    `said` are the tokens of the answer in progress, which follow the first `num_prompt` ids; the
    first `num_opening` were there before the first answer.
    """

    messages: list[Message]
    tools: Sequence[Mapping[str, Any]]
    rng: np.random.Generator
    sequence: Any
    ids: list[int] = field(default_factory=list)
    num_prompt: int = 0
    num_opening: int = 0
    said: list[int] = field(default_factory=list)
    lost: set[Part] = field(default_factory=set)


class ChatBatch:
    """The open conversations with one model.

    Args:
        model: a Hugging Face causal LM in evaluation mode.
        temperature: 0 is greedy.
        max_tokens: the longest answer in tokens.
        max_context: the longest history in tokens, the answer included.
        batch_size: how many conversations are answered at a time.
        seed: together with its name, the seed of a conversation's random stream.
        decoder: of the model, made for `max_context`; None: a new one.
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
        decoder: Decoder | None = None,
    ) -> None:
        self._renderer = renderer
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._max_context = max_context
        self._batch_size = batch_size
        self._seed = seed
        self._decoder = decoder or make_decoder(model, max_context)
        self._conversations: dict[str, _OpenConversation] = {}
        self._waiting: deque[str] = deque()
        self._running: dict[str, _OpenConversation] = {}
        self._answers: dict[str, PlayerAnswer] = {}
        # The start of the conversation that was closed last, for those that open next.
        self._kept: _OpenConversation | None = None
        self._num_opened = 0
        self._lost: Counter[Part] = Counter()

    def submit(
        self, name: str, new_messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Request the next answer in conversation `name`; a new name opens a conversation."""
        if name not in self._conversations:
            rng = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
            self._conversations[name] = _OpenConversation([], tools, rng, self._decoder.open())
            self._num_opened += 1
        conversation = self._conversations[name]
        self._take_in(conversation, new_messages)
        num_prompt = conversation.num_prompt = len(conversation.ids)
        conversation.num_opening = conversation.num_opening or num_prompt
        if num_prompt + self._max_tokens <= self._max_context:
            self._waiting.append(name)
            return
        self.close(name)
        nothing, usage = Message(role="assistant"), Usage(input_tokens=num_prompt)
        reason = f"the history needs more than {self._max_context} tokens"
        self._answers[name] = PlayerAnswer(nothing, "no_room", reason, usage=usage)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        """The answers that end next; none only if nothing was requested. Without a time limit."""
        while not self._answers and (self._waiting or self._running):
            self._advance()
        answers, self._answers = self._answers, {}
        return answers

    def close(self, name: str) -> None:
        """Forget a conversation."""
        for held in (self._running, self._answers):
            held.pop(name, None)
        if name in self._waiting:
            self._waiting.remove(name)
        conversation = self._conversations.pop(name, None)
        if conversation is None:
            return
        length = min(self._decoder.length(conversation.sequence), conversation.num_opening)
        if not self._decoder.shares or length < MIN_SHARED:
            self._decoder.close(conversation.sequence)
            return
        self._forget_kept()
        self._decoder.cut(conversation.sequence, length)
        self._kept = conversation

    def end(self) -> None:
        """Forget all conversations."""
        for name in list(self._conversations):
            self.close(name)
        self._forget_kept()
        lost = UnwrittenCount(self._num_opened, of_contexts=self._lost)
        for note in lost.notes(self._renderer):
            say(note)
        self._num_opened, self._lost = 0, Counter()

    def _forget_kept(self) -> None:
        if self._kept is not None:
            self._decoder.close(self._kept.sequence)
            self._kept = None

    def _take_in(self, conversation: _OpenConversation, messages: Sequence[Message]) -> None:
        """Add messages to a conversation and its tokens."""
        tools, added = conversation.tools, None
        owned = [(message, 0) for message in (*conversation.messages[-1:], *messages)]
        lost = {*self._renderer.parts.of_context(owned, None, tools)} - conversation.lost
        conversation.lost |= lost
        self._lost.update(lost)
        if conversation.ids:
            added = self._renderer.continuation_ids(conversation.messages, messages, tools)
        conversation.messages += messages
        if added is not None:
            # What was generated stays as it is, because training has these tokens too.
            conversation.ids += added
            return
        # A new conversation, or one whose history the template rewrites, is written completely.
        ids = self._renderer.opening_ids(conversation.messages, tools)
        kept = min(_num_shared(conversation.ids, ids), len(ids) - 1)
        if kept < self._decoder.length(conversation.sequence):
            self._decoder.cut(conversation.sequence, kept)
        conversation.ids = ids

    def _advance(self) -> None:
        """One forward pass: the next token of each answer in progress, and new histories."""
        while self._waiting and len(self._running) < self._batch_size:
            name = self._waiting.popleft()
            self._running[name] = self._conversations[name]
        fed = self._next_pieces()
        logits = self._decoder.feed(
            [(conversation.sequence, piece) for _, conversation, piece in fed]
        )
        # Those whose whole history was fed get a token.
        ready = [
            index
            for index, (_, conversation, _) in enumerate(fed)
            if self._decoder.length(conversation.sequence) == len(conversation.ids)
        ]
        if not ready:
            return
        chosen = logits[ready] if len(ready) < len(fed) else logits
        tokens = self._choose(chosen, [fed[index][1] for index in ready])
        for index, token in zip(ready, tokens.tolist(), strict=True):
            name, conversation, _ = fed[index]
            conversation.said.append(token)
            conversation.ids.append(token)
            if token in self._renderer.stop_ids or len(conversation.said) >= self._max_tokens:
                del self._running[name]
                self._answers[name] = self._finish(conversation)

    def _next_pieces(self) -> list[tuple[str, _OpenConversation, list[int]]]:
        """The tokens to feed next: of each answer its last one, of histories as many as fit."""
        fed = []
        # The histories that are being encoded.
        encoded: list[list[int]] = []
        room = MAX_FED
        for name, conversation in self._running.items():
            kept = self._decoder.length(conversation.sequence)
            if not kept and self._decoder.shares:
                best, kept = self._known_start(conversation)
                if any(_shared(other, conversation.ids) >= kept + MIN_SHARED for other in encoded):
                    # A later pass takes what both share from the other one.
                    continue
                if best is not None:
                    conversation.sequence = self._decoder.copy(best.sequence, kept)
            piece = conversation.ids[kept:]
            if len(piece) > 1:
                encoded.append(conversation.ids)
            if len(piece) > 1 and self._decoder.shares:
                piece = piece[: min(room, MAX_PIECE)]
                room -= len(piece)
            if piece:
                fed.append((name, conversation, piece))
        return fed

    def _known_start(self, conversation: _OpenConversation) -> tuple[_OpenConversation | None, int]:
        """The conversation from which a new one can take most of its start, and how much."""
        best, longest = None, 0
        known = [*self._conversations.values(), *([self._kept] if self._kept else ())]
        for other in known:
            length = self._decoder.length(other.sequence)
            if other is conversation or length <= longest:
                continue
            shared = min(_shared(other.ids, conversation.ids), length)
            if shared > longest:
                best, longest = other, shared
        return best, longest

    def _finish(self, conversation: _OpenConversation) -> PlayerAnswer:
        said, conversation.said = conversation.said, []
        stopped = said[-1] in self._renderer.stop_ids
        words = said[:-1] if stopped else said
        text = self._renderer.tokenizer.decode(words, skip_special_tokens=True)
        message = Message(role="assistant", content=text)
        # The history keeps the calls as text, as the model wrote them.
        conversation.messages.append(message)
        if conversation.tools and self._reads_calls:
            message = read_text_calls(text, 100 * len(conversation.messages))
        # An answer that was cut off still needs its end of turn.
        conversation.ids += () if stopped else self._renderer.end_of_turn
        usage = Usage(requests=1, input_tokens=conversation.num_prompt, output_tokens=len(said))
        return PlayerAnswer(message, "stop" if stopped else "length", usage=usage)

    def _choose(self, logits: torch.Tensor, rows: Sequence[_OpenConversation]) -> np.ndarray:
        """The next token of each row, [B]; each draws from its own random stream."""
        if self._temperature == 0:
            return logits.argmax(dim=-1).cpu().numpy()
        scaled = torch.softmax(logits.double() / self._temperature, dim=-1).cumsum(dim=-1)
        draws = torch.tensor([row.rng.random() for row in rows], dtype=torch.float64)
        chosen = torch.searchsorted(scaled, draws.to(scaled.device)[:, None], right=True)[:, 0]
        return chosen.clamp(max=logits.shape[-1] - 1).cpu().numpy()

    @cached_property
    def _reads_calls(self) -> bool:
        return writes_text_calls(self._renderer)


def _shared(known: Sequence[int], ids: Sequence[int]) -> int:
    """How many first tokens of `ids` can be taken from a known history; 0: not worth a copy.

    The last one is fed, for the logits after it.
    """
    if known[:MIN_SHARED] != ids[:MIN_SHARED]:
        return 0
    shared = min(_num_shared(known, ids), len(ids) - 1)
    return shared if shared >= MIN_SHARED else 0


def _num_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens are the same."""
    shortest = min(len(one), len(other))
    # Slices are compared much faster than tokens.
    for start in range(0, shortest, 64):
        if one[start : start + 64] != other[start : start + 64]:
            pairs = zip(one[start:], other[start:], strict=False)
            return next((start + i for i, (a, b) in enumerate(pairs) if a != b), shortest)
    return shortest
