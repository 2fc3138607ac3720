"""The schedule as a data set: optimiser steps dealt out to ranks. However many ranks there are, a step holds the same examples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch.utils.data import Dataset

from atlas.training.examples import TrainingExample


class OptimizerSteps(Dataset[list[TrainingExample]]):
    """Item k · R + r is what rank r of R runs in optimiser step k, maybe nothing: so a Trainer with a batch size of 1 deals them out.

    All examples of a trajectory are in one item, so that they can share their history in a forward pass.

    Attributes:
        spare: the shortest example. A rank that has nothing to run where the others do runs it, and it counts nothing.
    """

    def __init__(
        self,
        trajectories: Sequence[Sequence[TrainingExample]],
        order: Sequence[int],
        batch_size: int,
        num_ranks: int = 1,
    ) -> None:
        self._trajectories = trajectories
        lengths = [max(len(example.input_ids) for example in examples) for examples in trajectories]
        steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._shares = [share for step in steps for share in share_out(step, lengths, num_ranks)]
        self.spare = min(
            itertools.chain.from_iterable(trajectories), key=lambda example: len(example.input_ids)
        )

    def __len__(self) -> int:
        return len(self._shares)

    def __getitem__(self, index: int) -> list[TrainingExample]:
        return [example for number in self._shares[index] for example in self._trajectories[number]]


def share_out(step: Sequence[int], lengths: Sequence[int], num_ranks: int) -> list[list[int]]:
    """What of an optimiser step (indices into `lengths`) each rank runs, with about as many tokens each, in the order given."""
    owners = [0] * len(step)
    tokens = [0] * num_ranks
    for place in sorted(range(len(step)), key=lambda place: (-lengths[step[place]], place)):
        owners[place] = min(range(num_ranks), key=lambda rank: (tokens[rank], rank))
        tokens[owners[place]] += lengths[step[place]]
    return [
        [index for index, owner in zip(step, owners, strict=True) if owner == rank]
        for rank in range(num_ranks)
    ]
