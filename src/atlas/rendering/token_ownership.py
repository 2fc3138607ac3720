"""Determines which step owns each token of a conversation. Loss masks are derived from this."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.rendering.unwritten import Part

NO_STEP = -1


@dataclass(frozen=True, slots=True)
class TokenizedExample:
    """One sequence of tokens with their owners.

    Attributes:
        token_ids: shape [T], int32.
        step_of_token: shape [T], int32; the step whose response (including its end of turn)
            contains the token, or -1.
        steps: the steps that own tokens here.
        dropped_steps: wanted steps that did not fit completely into the token limit.
        cut_observations: steps whose observation was replaced by a marker.
        unwritten: the parts that the template does not write, by step; -1: of other messages.
    """

    trajectory_id: str
    token_ids: NDArray[np.int32]
    step_of_token: NDArray[np.int32]
    steps: tuple[int, ...]
    dropped_steps: tuple[int, ...] = ()
    cut_observations: tuple[int, ...] = ()
    unwritten: Mapping[int, tuple[Part, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseSpan:
    """The characters [start, end) with the response of `step` and its end of turn."""

    step: int
    start: int
    end: int


def own_tokens(
    tokenizer: Any,
    trajectory_id: str,
    text: str,
    spans: Sequence[ResponseSpan],
    wanted: Collection[int],
    max_tokens: int | None,
    unwritten: Mapping[int, tuple[Part, ...]],
) -> TokenizedExample:
    """Tokenize `text` once, and assign each token to the step whose span contains it.

    Args:
        wanted: the steps to report as kept or dropped.
        max_tokens: the rest is cut off; a step that does not fit completely owns no token.
        unwritten: as in the example, for all steps.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    token_ids = np.asarray(encoded["input_ids"], dtype=np.int32)
    offsets = np.asarray(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    starts, ends = offsets[:, 0], offsets[:, 1]
    owner = np.full(len(token_ids), NO_STEP, dtype=np.int32)
    dropped = []
    for span in spans:
        # A token with characters of both header and response belongs to the header, because the
        # model does not generate it.
        inside = (starts >= span.start) & (ends <= span.end) & (ends > starts)
        if max_tokens is None or not inside[max_tokens:].any():
            owner[inside] = span.step
        elif span.step in wanted:
            dropped.append(span.step)
    token_ids, owner = token_ids[:max_tokens], owner[:max_tokens]
    kept = tuple(sorted(set(owner[owner != NO_STEP].tolist()) & set(wanted)))
    shown = {NO_STEP, *np.unique(owner).tolist()}
    lost = {step: parts for step, parts in unwritten.items() if step in shown}
    return TokenizedExample(trajectory_id, token_ids, owner, kept, tuple(dropped), (), lost)
