"""Divides the examples of an optimizer step into forward passes by cost. The loss is unaffected."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.training.engine.packed_rows import common_beginnings, lexicographic_order


def cut_into_micro_batches(
    tokens: Sequence[NDArray[np.integer]],
    max_tokens: int,
    max_examples: int | None = None,
    padded: bool = False,
    share_prompts: bool = False,
    at_least: int = 1,
) -> list[list[int]]:
    """Indices of the examples of each forward pass; without examples, no pass.

    Args:
        tokens: token ids of each example, shape [T].
        max_tokens: maximum tokens of a pass, padding included; a longer example has its own pass.
        max_examples: maximum examples of a pass.
        padded: whether all examples of a pass are padded to the longest.
        share_prompts: whether a common beginning is computed once. Then examples with a common
            beginning are kept together as far as possible.
        at_least: how many passes there must be (ranks that train together need equally many).
    """
    if not tokens:
        return []
    order = sorted(range(len(tokens)), key=lambda index: (len(tokens[index]), index))
    common = [0] * len(tokens)
    if share_prompts:
        order = lexicographic_order(tokens)
        common = common_beginnings([tokens[index] for index in order])
    lengths = [len(tokens[index]) for index in order]
    if padded:
        ends = _fill_padded(lengths, max_tokens, max_examples)
    else:
        ends = _part_cheapest(lengths, common, max_tokens, max_examples)
    batches = [order[start:end] for start, end in itertools.pairwise([0, *ends])]
    while len(batches) < min(at_least, len(tokens)):
        largest = max(batches, key=len)
        batches.remove(largest)
        batches += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return batches


def _fill_padded(lengths: Sequence[int], max_tokens: int, max_examples: int | None) -> list[int]:
    """The ends of passes that are filled in turn; lengths are ascending."""
    ends, start = [], 0
    for place, length in enumerate(lengths):
        num = place - start
        if num and (length * (num + 1) > max_tokens or num == max_examples):
            ends.append(place)
            start = place
    return [*ends, len(lengths)]


def _part_cheapest(
    lengths: Sequence[int], common: Sequence[int], max_tokens: int, max_examples: int | None
) -> list[int]:
    """The ends of passes with the fewest tokens to compute and, for these, the fewest passes.

    At each cut, the common beginning of the examples around it is computed again.
    """
    new = (length - shared for length, shared in zip(lengths, common, strict=True))
    added = [0, *itertools.accumulate(new)]
    # For the examples so far: tokens run, passes, and where the last pass starts.
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for end in range(1, len(lengths) + 1):
        choices = []
        for start in range(end - 1, -1, -1):
            cost = common[start] + added[end] - added[start]
            if start < end - 1 and (cost > max_tokens or end - start == (max_examples or end) + 1):
                break
            choices.append((best[start][0] + cost, best[start][1] + 1, -start))
        tokens, passes, start = min(choices)
        best.append((tokens, passes, -start))
    ends, end = [], len(lengths)
    while end:
        ends.append(end)
        end = best[end][2]
    return ends[::-1]
