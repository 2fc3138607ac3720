"""Determines which step owns each token of a conversation. Loss masks are derived from this."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

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
class Piece:
    """Tokens that were encoded together: the response of `step`, or context (-1)."""

    token_ids: Sequence[int]
    step: int = NO_STEP


def own_tokens(
    trajectory_id: str,
    pieces: Sequence[Piece],
    wanted: Collection[int],
    max_tokens: int | None,
) -> TokenizedExample:
    """Join the pieces of a conversation, each with its owner.

    Args:
        wanted: the steps to report as kept or dropped.
        max_tokens: the rest is cut off; a step that does not fit completely owns no token. The
            pieces may end where the limit is reached.
    """
    ids: list[int] = []
    owners: list[NDArray[np.int32]] = []
    kept = []
    for piece in pieces:
        ids += piece.token_ids
        is_owned = piece.step != NO_STEP and (max_tokens is None or len(ids) <= max_tokens)
        owner = piece.step if is_owned else NO_STEP
        owners.append(np.full(len(piece.token_ids), owner, dtype=np.int32))
        if is_owned and piece.step in wanted and len(piece.token_ids):
            kept.append(piece.step)
    owned = np.concatenate(owners) if owners else np.zeros(0, dtype=np.int32)
    return TokenizedExample(
        trajectory_id,
        np.asarray(ids[:max_tokens], dtype=np.int32),
        owned[:max_tokens],
        tuple(kept),
        tuple(sorted(set(wanted).difference(kept))),
    )


def steps_stopped_early(example: TokenizedExample, stop_ids: Collection[int]) -> frozenset[int]:
    """The steps whose response has a stop token before its last token.

    A model that generates this token stops there, so it never generates the rest.
    """
    owners = example.step_of_token
    goes_on = (owners[:-1] != NO_STEP) & (owners[:-1] == owners[1:])
    stops = np.isin(example.token_ids[:-1], list(stop_ids))
    return frozenset(owners[:-1][goes_on & stops].tolist())
