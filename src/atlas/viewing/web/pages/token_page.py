"""A description of tokens -> one page of it: runs of tokens with their marks, and where steps are.

Each token has one state. Color and a line under or through the text say the same, and the title of
a token says it in words.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from atlas.rendering.token_ownership import NO_STEP
from atlas.rendering.token_texts import token_texts
from atlas.terminal.visible_text import visible_line
from atlas.viewing.token_view import StepTokenCounts, TokenView, ViewedExample

State = Literal["supervised", "silenced", "response", "context", "not-run", "cut"]
STATES: dict[State, str] = {
    "supervised": "supervised",
    "silenced": "supervised, but silenced by the objective at the first step",
    "response": "not selected",
    "context": "context",
    "not-run": "not run: after the last supervised token",
    "cut": "cut off by max_tokens",
}
TOKENS_PER_PAGE = 2_000
# Losses in nats from which a token has the next darker shade.
SHADES = (0.5, 1.0, 2.0, 4.0, 8.0)
NUM_HIGHEST = 12
_BLANKS = re.compile(r"[ \t\n\r]+")
_SIGN_OF_BLANK = {" ": "·", "\t": "→", "\n": "⏎\n", "\r": "␍"}


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of a token's text; blanks are written as signs."""

    text: str
    is_blank: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `position` counts from 0 in its example; `loss` is in nats."""

    position: int
    token_id: int
    pieces: tuple[TextPiece, ...]
    is_special: bool
    loss: float | None

    @property
    def shade(self) -> int | None:
        """How dark the loss is shown, from 0; None where it is not known."""
        return None if self.loss is None else sum(self.loss >= limit for limit in SHADES)

    @property
    def title(self) -> str:
        """What is known about the token, without its state."""
        loss = "" if self.loss is None else f", loss {self.loss:.3f}"
        return f"token {self.position}, id {self.token_id}{loss}"


@dataclass(frozen=True, slots=True)
class TokenRun:
    """Neighboring tokens of one example with the same owner and state. `step` is None: context."""

    example: int
    step: int | None
    state: State
    tokens: tuple[Token, ...]

    @property
    def name(self) -> str:
        """The state in words, with the step."""
        return (
            STATES[self.state] if self.step is None else f"step {self.step}: {STATES[self.state]}"
        )


@dataclass(frozen=True, slots=True)
class SurprisingToken:
    """A token with a high loss, and the page that it is on."""

    example: int
    step: int
    page: int
    token: Token


@dataclass(frozen=True, slots=True)
class StepLine:
    """The counts of a step, and where its first token is."""

    counts: StepTokenCounts
    example: int | None = None
    position: int | None = None
    page: int = 1


@dataclass(frozen=True, slots=True)
class TokenPage:
    """One page of the tokens of a trajectory.

    Attributes:
        first: the number of its first token among all, from 1.
        last: the number of its last one.
        total: all tokens, with those that are cut off.
        states: the states that occur on any page, in the order of the legend.
    """

    runs: tuple[TokenRun, ...]
    steps: tuple[StepLine, ...]
    highest: tuple[SurprisingToken, ...]
    states: tuple[State, ...]
    page: int
    num_pages: int
    first: int
    last: int
    total: int


def lay_out_tokens(view: TokenView, tokenizer: Any, page: int | None = 1) -> TokenPage:
    """The page of a number, or the nearest one that there is; None: one page of all tokens."""
    sizes = [len(one.token_ids) for one in view.examples]
    total = sum(sizes)
    size = TOKENS_PER_PAGE if page is not None else max(1, total)
    num_pages = max(1, -(-total // size))
    page = min(max(1, page or 1), num_pages)
    start, stop = (page - 1) * size, min(total, page * size)
    states = [_states(one) for one in view.examples]
    special = frozenset(_special_ids(tokenizer))
    runs: list[TokenRun] = []
    before = 0
    for number, (one, size) in enumerate(zip(view.examples, sizes, strict=True)):
        low, high = max(start - before, 0), min(stop - before, size)
        if low < high:
            runs += _runs(number, one, states[number], tokenizer, special, (low, high))
        before += size
    seen = {state for each in states for state in np.unique(each).tolist()}
    return TokenPage(
        tuple(runs),
        tuple(_step_lines(view, sizes)),
        tuple(_highest(view, tokenizer, special, sizes)),
        tuple(state for state in STATES if state in seen),
        page,
        num_pages,
        start + 1 if total else 0,
        stop,
        total,
    )


def _states(one: ViewedExample) -> np.ndarray[Any, Any]:
    """The state of each token, shape [T + C]."""
    size, owners = len(one.mask), one.owners
    states = np.where(owners == NO_STEP, "context", "response").astype("U10")
    states[:size][one.mask] = "supervised"
    if one.silenced is not None:
        states[:size][one.silenced] = "silenced"
    states[one.num_run : size] = "not-run"
    states[size:] = "cut"
    return states


def _runs(
    number: int,
    one: ViewedExample,
    states: np.ndarray[Any, Any],
    tokenizer: Any,
    special: frozenset[int],
    part: tuple[int, int],
) -> Iterator[TokenRun]:
    low, high = part
    owners = one.owners[low:high]
    here = states[low:high]
    tokens = _tokens(one, tokenizer, special, low, high)
    is_new = (owners[1:] != owners[:-1]) | (here[1:] != here[:-1])
    edges = [0, *(np.flatnonzero(is_new) + 1).tolist(), high - low]
    for start, end in itertools.pairwise(edges):
        step = int(owners[start])
        own = None if step == NO_STEP else step
        yield TokenRun(number, own, str(here[start]), tuple(tokens[start:end]))  # type: ignore[arg-type]


def _tokens(
    one: ViewedExample, tokenizer: Any, special: frozenset[int], low: int, high: int
) -> list[Token]:
    ids, losses = one.token_ids, one.losses
    made = []
    for position, text in enumerate(token_texts(tokenizer, ids, low, high), start=low):
        token_id = int(ids[position])
        loss = None
        if losses is not None and position < len(losses) and not np.isnan(losses[position]):
            loss = float(losses[position])
        pieces = tuple(_pieces(text))
        made.append(Token(position, token_id, pieces, token_id in special, loss))
    return made


def _pieces(text: str) -> Iterator[TextPiece]:
    """The text in pieces; an empty one is a part of a character, written with the last part."""
    if not text:
        yield TextPiece("▯", is_blank=True)
    done = 0
    for found in _BLANKS.finditer(text):
        if found.start() > done:
            yield TextPiece(visible_line(text[done : found.start()]))
        yield TextPiece("".join(_SIGN_OF_BLANK[one] for one in found[0]), is_blank=True)
        done = found.end()
    if done < len(text):
        yield TextPiece(visible_line(text[done:]))


def _special_ids(tokenizer: Any) -> Iterator[int]:
    yield from map(int, getattr(tokenizer, "all_special_ids", ()))
    yield from map(int, getattr(tokenizer, "added_tokens_decoder", ()))


def _step_lines(view: TokenView, sizes: list[int]) -> Iterator[StepLine]:
    places: dict[int, tuple[int, int, int]] = {}
    before = 0
    for number, (one, size) in enumerate(zip(view.examples, sizes, strict=True)):
        found, firsts = np.unique(one.owners, return_index=True)
        for step, position in zip(found.tolist(), firsts.tolist(), strict=True):
            # A step that is trained in a later example is shown there.
            if step not in places or one.mask[position : position + 1].any():
                places[step] = number, position, (before + position) // TOKENS_PER_PAGE + 1
        before += size
    for counts in view.steps:
        yield StepLine(counts, *places.get(counts.step, ()))


def _highest(
    view: TokenView, tokenizer: Any, special: frozenset[int], sizes: list[int]
) -> Iterator[SurprisingToken]:
    """The supervised tokens with the highest losses."""
    found: list[tuple[float, int, int]] = []
    for number, one in enumerate(view.examples):
        if one.losses is not None:
            known = np.flatnonzero(one.mask & ~np.isnan(one.losses))
            best = known[np.argsort(-one.losses[known], kind="stable")[:NUM_HIGHEST]]
            found += [(-float(one.losses[place]), number, int(place)) for place in best]
    for _, number, position in sorted(found)[:NUM_HIGHEST]:
        one = view.examples[number]
        (token,) = _tokens(one, tokenizer, special, position, position + 1)
        page = (sum(sizes[:number]) + position) // TOKENS_PER_PAGE + 1
        yield SurprisingToken(number, int(one.owners[position]), page, token)
