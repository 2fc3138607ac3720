"""Which passes are large: those in which computing cheap operations again is worth its time.

A small model computes a norm or an activation again in about the time of a call, which is 8 to 11 %
of its pass (2M parameters, rows of 4,096 tokens), and has little to save.
"""

from __future__ import annotations

# Hidden states of all layers together, in entries. A layer keeps about 20 times as much as its
# hidden states, so this is about 1 GiB in float32.
LARGE_PASS = 2**24


def is_large_pass(num_tokens: int, hidden: int, num_layers: int) -> bool:
    """Whether a pass over so many tokens keeps much for its backward pass."""
    return num_tokens * hidden * num_layers > LARGE_PASS
