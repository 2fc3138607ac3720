"""The examples of one optimiser step, cut into forward passes by what they cost. No loss depends on the cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.training.packed_rows import common_beginnings, lexicographic_order


def cut_into_micro_batches(
    tokens: Sequence[NDArray[np.integer]],
    max_tokens: int,
    max_examples: int | None = None,
    padded: bool = False,
    share_prompts: bool = False,
    at_least: int = 1,
) -> list[list[int]]:
    """Indices of the examples of each forward pass.

    Args:
        tokens: token ids of each example, shape [T].
        max_tokens: tokens that a pass runs over, padding included; an example that is longer has a pass of its own.
        max_examples: examples of a pass.
        padded: whether a pass costs as if all its examples had the length of its longest.
        share_prompts: whether a common beginning is run once; examples that have one then go together.
        at_least: how many passes there must be (ranks that train together need equally many).
    """
    order = lexicographic_order(tokens) if share_prompts else sorted(range(len(tokens)), key=lambda index: (len(tokens[index]), index))
    common = common_beginnings([tokens[index] for index in order]) if share_prompts else [0] * len(tokens)
    batches: list[list[int]] = []
    cost = 0
    for place, index in enumerate(order):
        length = len(tokens[index])
        grown = length * (len(batches[-1]) + 1) if padded and batches else cost + length - common[place]
        if not batches or grown > max_tokens or len(batches[-1]) == max_examples:
            batches.append([])
            grown = length
        batches[-1].append(index)
        cost = grown
    while len(batches) < min(at_least, len(tokens)):
        largest = max(batches, key=len)
        batches.remove(largest)
        batches += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return batches
