"""Tokens as terminal text. Supervised ones are colored and between ⟦ and ⟧."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from atlas.terminal.visible_text import visible

SUPERVISED, CONTEXT = "black on green", "dim"


def color_tokens(tokenizer: Any, token_ids: NDArray[np.integer], mask: NDArray[np.bool_]) -> Text:
    """The tokens, shape [T], as text; `mask`, shape [T], says which are supervised.

    Neighboring tokens of the same kind are decoded together, because a character may consist of
    several tokens.
    """
    text = Text()
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=mask[:1].astype(np.int8))).tolist()
    for start, end in zip([0, *edges], [*edges, len(mask)], strict=True):
        if start == end:
            continue
        piece = visible(str(tokenizer.decode(token_ids[start:end].tolist())))
        text.append(*((f"⟦{piece}⟧", SUPERVISED) if mask[start] else (piece, CONTEXT)))
    return text
