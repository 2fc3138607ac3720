"""Turns of a conversation -> token sequences, one if the template never rewrites a turn.

A turn *continues* the one before it if its prompt begins with the text through that response. A
template that strips earlier thinking, or that closes the last turn differently, rewrites the text,
and the player then encodes its prompt again. So a conversation falls into runs of turns that
continue each other. Each run is one sequence, whose prompt is what the model is given at inference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from atlas.rendering.conversation_turns import ConversationTurns
from atlas.rendering.piece_tokens import PieceEncoder
from atlas.rendering.text_prefix import num_common
from atlas.rendering.token_ownership import Piece, TokenizedExample, own_tokens

# How many turns are encoded in one call, and about how many characters.
_BATCH, _BATCH_LENGTH = 64, 1 << 16


@dataclass(frozen=True, slots=True)
class _Run:
    """Turns that were encoded; `rewritten` is a step that does not continue them."""

    text: str
    ends: dict[int, int]
    pieces: list[Piece]
    num_tokens: int
    tail: str
    rewritten: int | None = None


class TurnExamples:
    """Makes the token sequences of one conversation.

    Args:
        whole: the text of the whole conversation.
        max_tokens: nothing is rendered or encoded far beyond this limit.

    Attributes:
        responses: the text of each response that was encoded, as it stands in its sequence.
        text: the text of the last sequence through its last response.
    """

    def __init__(
        self,
        trajectory_id: str,
        turns: ConversationTurns,
        num_steps: int,
        whole: Callable[[], str],
        encoder: PieceEncoder,
        max_tokens: int | None,
    ) -> None:
        self.responses: dict[int, str] = {}
        self.text = ""
        self._id = trajectory_id
        self._turns = turns
        self._num_steps = num_steps
        self._whole = whole
        self._encoder = encoder
        self._max_tokens = max_tokens
        # One more token is enough to see that a text is too long.
        self._limit = None if max_tokens is None else max_tokens + 1

    def build(self, wanted: Collection[int]) -> list[TokenizedExample]:
        """The sequence of all turns, or one per run of turns with a wanted step.

        Raises:
            ModelError: the template places a response where it cannot be located.
        """
        one = self._one_sequence(wanted)
        return self._sequences(sorted(wanted)) if one is None else [one]

    def fits(self, step: int) -> bool:
        """Whether the tokens through the response at `step` stay within the limit."""
        if step and self._turns.following(step) is None:
            # Its run begins here, so its prompt is one text.
            turn = self._turns.first(step)
            prompt = self._encoder.opening(turn.context, self._limit)
            (response,) = self._encoder.responses([turn.response])
            return self._max_tokens is None or len(prompt) + len(response) <= self._max_tokens
        (made,) = self.build([step])
        return not made.dropped_steps

    def _one_sequence(self, wanted: Collection[int]) -> TokenizedExample | None:
        """All turns as one sequence, or None if the template rewrites one of them."""
        whole = self._whole()
        while True:
            run = self._encode(0, self._num_steps - 1)
            if run.rewritten is not None:
                if not self._turns.continues(run.rewritten):
                    return None
            elif self._turns.holds(0, run.text, run.ends):
                if not whole.startswith(run.text):
                    return None
                rest = whole[len(run.text) :] if self._is_short(run) else ""
                pieces = [*run.pieces, *(Piece(ids) for ids in self._after(rest))]
                return own_tokens(self._id, pieces, wanted, self._max_tokens)
            if not self._turns.widen():
                return None

    def _sequences(self, wanted: Sequence[int]) -> list[TokenizedExample]:
        """One sequence per run of turns, up to its last wanted step."""
        examples: list[TokenizedExample] = []
        groups = self._by_window(wanted)
        number, following = 0, self._true_start(groups[0][0], 0)
        while number < len(groups):
            start, steps = following, list(groups[number][1])
            number += 1
            while number < len(groups):
                following = self._true_start(groups[number][0], start)
                if following != start:
                    break
                steps += groups[number][1]
                number += 1
            run = self._encode(start, steps[-1])
            is_right = run.rewritten is None and (
                len(run.ends) == 1 or self._turns.holds(start, run.text, run.ends)
            )
            if not is_right and self._turns.widen():
                return self._sequences(wanted)
            pieces = run.pieces
            if self._is_short(run):
                pieces = [*pieces, *(Piece(ids) for ids in self._after(run.tail))]
            examples.append(own_tokens(self._id, pieces, steps, self._max_tokens))
            if (
                number < len(groups)
                and self._is_full(len(run.pieces[0].token_ids))
                and self._share_what_is_cut(start, groups[-1][0])
            ):
                return examples + [
                    replace(examples[-1], steps=(), dropped_steps=tuple(steps))
                    for _, steps in groups[number:]
                ]
        return examples

    def _by_window(self, wanted: Sequence[int]) -> list[tuple[int, list[int]]]:
        """The wanted steps by the first step of their run, as far as windows show it."""
        groups: list[tuple[int, list[int]]] = []
        start, remaining = 0, iter(wanted)
        following = next(remaining)
        for step in range(wanted[-1] + 1):
            if step and self._turns.following(step) is None:
                start = step
            if step == following:
                if groups and groups[-1][0] == start:
                    groups[-1][1].append(step)
                else:
                    groups.append((start, [step]))
                following = next(remaining, -1)
        return groups

    def _true_start(self, start: int, lowest: int) -> int:
        """The first step of a run. A window may show a turn as rewritten that is not."""
        while start > lowest and self._turns.continues(start):
            start -= 1
            while start > lowest and self._turns.following(start) is not None:
                start -= 1
        return start

    def _encode(self, start: int, last: int) -> _Run:
        """The turns from `start` to `last`, up to the limit or to one that is rewritten."""
        first = self._turns.first(start)
        opening = self._encoder.opening(first.context, self._limit)
        pieces, num_tokens = [Piece(opening)], len(opening)
        texts, ends, length = [first.context], {}, len(first.context)
        # The context of the first turn is the opening.
        turns, rewritten = [replace(first, context="")], None
        while turns:
            contexts = self._encoder.after_response([turn.context for turn in turns], self._limit)
            responses = self._encoder.responses([turn.response for turn in turns])
            for turn, context, response in zip(turns, contexts, responses, strict=True):
                pieces += [Piece(context), Piece(response, turn.step)]
                texts += [turn.context, turn.response]
                length += len(turn.context) + len(turn.response)
                ends[turn.step] = length
                self.responses[turn.step] = turn.response
                num_tokens += len(context) + len(response)
            tail, step, turns = turns[-1].tail, turns[-1].step, []
            if rewritten is not None or self._is_full(num_tokens):
                break
            size = 0
            for following in range(step + 1, min(step + _BATCH, last) + 1):
                found = self._turns.following(following)
                if found is None:
                    rewritten = following
                    break
                turns.append(found)
                size += len(found.context) + len(found.response)
                if size > _BATCH_LENGTH:
                    break
        self.text = "".join(texts)
        return _Run(self.text, ends, pieces, num_tokens, tail, rewritten)

    def _after(self, text: str) -> list[list[int]]:
        return self._encoder.after_response([text], self._limit) if text else []

    def _is_full(self, num_tokens: int) -> bool:
        return self._max_tokens is not None and num_tokens >= self._max_tokens

    def _is_short(self, run: _Run) -> bool:
        return not self._is_full(run.num_tokens)

    def _share_what_is_cut(self, start: int, last: int) -> bool:
        """Whether the runs at two steps have the same tokens up to the limit.

        Then the runs between them have the same tokens too, because a template writes nothing
        differently between two steps at which it writes the same.
        """
        assert self._max_tokens is not None
        one, other = self._turns.first(start).context, self._turns.first(last).context
        return self._encoder.share(one[: num_common(one, other)], self._max_tokens)
