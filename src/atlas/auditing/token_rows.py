"""What each token of a row without messages is, as far as its template's own tokens tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.auditing.rows import RefusedRowError
from atlas.auditing.supervision import (
    ASSISTANT,
    END,
    HEADER,
    NO_MESSAGE,
    USER,
    WORDS,
    Supervision,
    array,
    code_of,
)
from atlas.auditing.template import Template


def supervise_tokens(
    template: Template,
    ids: Sequence[int],
    mask: Sequence[bool],
    kept: NDArray[np.bool_],
) -> Supervision:
    """A row of tokens: from a generation prompt to an end of turn is a response, others are not.

    Each response is numbered as a message of its own. The tokens between two responses count as
    what the user says, with their headers, because their roles are not known.
    """
    tokens = array(ids, np.int32)
    size = len(template.tokenizer)
    if len(tokens) and (largest := int(tokens.max())) >= size:
        raise RefusedRowError(
            f"it holds the token {largest:,}, and the tokenizer has {size:,}: the row was made "
            "with another tokenizer"
        )
    codes = np.full(len(tokens), code_of(USER, WORDS), dtype=np.uint8)
    owners = np.full(len(tokens), NO_MESSAGE, dtype=np.int32)
    header = array(template.ids(template.header) if template.header else [], np.int32)
    places = _places(tokens, header)
    stops = np.flatnonzero(np.isin(tokens, list(template.stop_ids))).tolist()
    if not places:
        # Without a header, a response is what is supervised.
        return _by_runs(tokens, array(mask, np.bool_), kept, codes, owners, stops)
    number = 0
    for place in places:
        start = place + len(header)
        stop = next((one for one in stops if one >= start), len(tokens))
        codes[place:start] = code_of(ASSISTANT, HEADER)
        codes[start:stop] = code_of(ASSISTANT, WORDS)
        codes[stop : stop + 1] = code_of(ASSISTANT, END)
        owners[place : stop + 1] = number
        number += 1
    roles = ("assistant",) * number
    return Supervision(tokens, array(mask, np.bool_), kept, codes, owners, roles)


def _places(tokens: NDArray[np.int32], part: NDArray[np.int32]) -> list[int]:
    """Where `part` stands in `tokens`."""
    if not len(part) or len(part) > len(tokens):
        return []
    windows = np.lib.stride_tricks.sliding_window_view(tokens, len(part))
    return list(np.flatnonzero((windows == part).all(axis=1)).tolist())


def _by_runs(
    tokens: NDArray[np.int32],
    mask: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    codes: NDArray[np.uint8],
    owners: NDArray[np.int32],
    stops: Sequence[int],
) -> Supervision:
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).tolist()
    ends = set(stops)
    number = 0
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        for place in range(start, stop):
            is_end = place in ends
            codes[place] = code_of(ASSISTANT, END if is_end else WORDS)
            owners[place] = number
            number += is_end
        if stop in ends:
            codes[stop], owners[stop] = code_of(ASSISTANT, END), number
        number += 1
    return Supervision(tokens, mask, kept, codes, owners, ("assistant",) * number)
