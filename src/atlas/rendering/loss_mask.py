"""Ownership to mask: a pure function of token ownership and chosen steps (ATLaS §3.3).

    L = −Σ_τ Σ_{t ∈ C(τ)} Σ_k log π(a_t^k | full history)

The whole trajectory stays in the context. Only tokens of chosen steps carry loss.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from atlas.rendering.token_ownership import NO_STEP, TokenizedExample

IGNORED_LABEL = -100


def loss_mask(example: TokenizedExample, steps: Collection[int]) -> NDArray[np.bool_]:
    """Which tokens are supervised, shape [T]: those of `steps`. The first token never is."""
    mask = np.isin(example.step_of_token, [step for step in steps if step != NO_STEP])
    # Nothing predicts the first token.
    mask[:1] = False
    return mask


def labels(example: TokenizedExample, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Token ids where supervised, -100 elsewhere, shape [T], unshifted, as trainers read them."""
    return np.where(mask, example.token_ids, IGNORED_LABEL).astype(np.int64)
