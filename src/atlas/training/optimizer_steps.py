"""The schedule as a data set: optimiser steps dealt out to ranks. However many ranks there are, a step holds the same examples."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import Dataset

from atlas.training.examples import TrainingExample


class OptimizerSteps(Dataset[list[TrainingExample]]):
    """Item k · R + r is what rank r of R runs in optimiser step k, maybe nothing: so a Trainer with a batch size of 1 deals them out.

    Attributes:
        spare: the shortest example. A rank that has nothing to run where the others do runs it, and it counts nothing.
    """

    def __init__(self, examples: Sequence[TrainingExample], order: Sequence[int], batch_size: int, num_ranks: int = 1) -> None:
        self._examples = examples
        lengths = [len(example.input_ids) for example in examples]
        steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self._shares = [share for step in steps for share in share_out(step, lengths, num_ranks)]
        self.spare = min(examples, key=lambda example: len(example.input_ids))

    def __len__(self) -> int:
        return len(self._shares)

    def __getitem__(self, index: int) -> list[TrainingExample]:
        return [self._examples[number] for number in self._shares[index]]


def share_out(step: Sequence[int], lengths: Sequence[int], num_ranks: int) -> list[list[int]]:
    """The examples of an optimiser step (indices into `lengths`) for each rank, with about as many tokens each, in the order given."""
    owners = [0] * len(step)
    tokens = [0] * num_ranks
    for place in sorted(range(len(step)), key=lambda place: (-lengths[step[place]], place)):
        owners[place] = min(range(num_ranks), key=lambda rank: (tokens[rank], rank))
        tokens[owners[place]] += lengths[step[place]]
    return [[index for index, owner in zip(step, owners, strict=True) if owner == rank] for rank in range(num_ranks)]
