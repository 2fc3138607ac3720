"""Token ids -> the text of each token, so that the texts joined are the decoded whole.

A token decoded by itself may lack its leading blank (SentencePiece) or be a piece of a character.
So each text is what a token adds to the text of the few tokens before it. A character made of
several tokens is the text of its last one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_INCOMPLETE = "\ufffd"
# A character has at most four bytes; a few more tokens settle where its blank belongs.
_BEFORE, _LONGEST = 4, 8


def token_texts(
    tokenizer: Any, token_ids: NDArray[np.integer], start: int = 0, end: int | None = None
) -> list[str]:
    """The texts of the tokens from `start` to `end`; those before them are read for their context.

    The text is empty for a token that is only a piece of a character.
    """
    end = len(token_ids) if end is None else min(end, len(token_ids))
    first = max(0, start - _LONGEST)
    ids = token_ids[first : end + _LONGEST].tolist()
    texts: list[str] = []
    # The texts of the tokens before `read` are known; those from `context` are decoded with them.
    context = read = 0
    for place in range(1, len(ids) + 1):
        before = _decode(tokenizer, ids[context:read])
        after = _decode(tokenizer, ids[context:place])
        if after.endswith(_INCOMPLETE) and place - read < _LONGEST and place < len(ids):
            texts.append("")
            continue
        if not after.startswith(before):
            after = before + _decode(tokenizer, ids[read:place])
        texts.append(after[len(before) :])
        read, context = place, max(0, place - _BEFORE)
    return texts[start - first : end - first]


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)) if ids else ""
