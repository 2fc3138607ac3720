"""The loss mask as a pure function of token ownership and selected steps (ATLaS §3.3).

    L = −Σ_τ Σ_{t ∈ C(τ)} Σ_k log π(a_t^k | full history)

The whole trajectory stays in the context. Only tokens of selected steps carry loss.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from atlas.rendering.token_ownership import NO_STEP, TokenizedExample

IGNORED_LABEL = -100


def loss_mask(example: TokenizedExample, steps: Collection[int]) -> NDArray[np.bool_]:
    """The loss mask, shape [T]: true for tokens of `steps`, except for the first token."""
    mask = np.isin(example.step_of_token, [step for step in steps if step != NO_STEP])
    # No position predicts the first token.
    mask[:1] = False
    return mask


def labels(example: TokenizedExample, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Labels, shape [T]: ids of supervised tokens, -100 elsewhere; not shifted."""
    return np.where(mask, example.token_ids, IGNORED_LABEL).astype(np.int64)
