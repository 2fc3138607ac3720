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


def count_run(mask: NDArray[np.bool_]) -> int:
    """How many tokens are run, given which carry loss, shape [T]: those up to the last of these.

    In a causal model, later tokens do not change earlier logits, so leaving them out is exact.
    """
    with_loss = np.flatnonzero(mask)
    return int(with_loss[-1]) + 1 if len(with_loss) else 0


def labels(example: TokenizedExample, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Labels, shape [T]: ids of supervised tokens, -100 elsewhere; not shifted."""
    return np.where(mask, example.token_ids, IGNORED_LABEL).astype(np.int64)
