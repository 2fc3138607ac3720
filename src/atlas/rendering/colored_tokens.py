"""Tokens as terminal text: supervised ones between ⟦ and ⟧, silenced ones between ⟪ and ⟫."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from atlas.terminal.visible_text import visible

SUPERVISED, SILENCED, CONTEXT = "black on green", "black on yellow", "dim"
_STYLES = ((CONTEXT, "{}"), (SUPERVISED, "⟦{}⟧"), (SILENCED, "⟪{}⟫"))


def color_tokens(
    tokenizer: Any,
    token_ids: NDArray[np.integer],
    mask: NDArray[np.bool_],
    silenced: NDArray[np.bool_] | None = None,
) -> Text:
    """The tokens, shape [T], as text; `mask`, shape [T], says which are supervised.

    Args:
        silenced: shape [T]; which of the supervised ones an objective silences; None: none.

    Neighboring tokens of the same kind are decoded together, because a character may consist of
    several tokens.
    """
    text = Text()
    kinds = mask.astype(np.int8)
    if silenced is not None:
        kinds = kinds + (mask & silenced)
    edges = np.flatnonzero(np.diff(kinds, prepend=kinds[:1])).tolist()
    for start, end in zip([0, *edges], [*edges, len(mask)], strict=True):
        if start == end:
            continue
        piece = visible(str(tokenizer.decode(token_ids[start:end].tolist())))
        style, brackets = _STYLES[kinds[start]]
        text.append(brackets.format(piece), style)
    return text
