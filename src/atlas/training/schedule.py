"""The schedule: which examples each optimizer step trains on.

It is computed once, and used for the dry run, the costs and the Trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.errors import ConfigError
from atlas.training.examples import TrainingExample

# All examples of one trajectory.
Group = tuple[TrainingExample, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The groups of each optimizer step, over all epochs."""

    steps: tuple[tuple[Group, ...], ...]

    @classmethod
    def in_order(cls, groups: Sequence[Group], batch_size: int) -> Schedule:
        """The groups in their order, `batch_size` of them to an optimizer step."""
        starts = range(0, len(groups), batch_size)
        return cls(tuple(tuple(groups[start : start + batch_size]) for start in starts))

    @property
    def examples(self) -> list[list[TrainingExample]]:
        """The examples of each optimizer step."""
        return self.deal_out(1)

    def deal_out(self, num_ranks: int) -> list[list[TrainingExample]]:
        """The examples for each rank, possibly none. The examples of a step do not depend on R.

        Item k · R + r is what rank r of R runs in optimizer step k, so a Trainer with a batch size
        of 1 deals the items out. All examples of a trajectory are in one item, so that they can
        share their history in a forward pass.
        """
        return [
            [example for place in share for example in step[place]]
            for step in self.steps
            for share in share_out([_length(group) for group in step], num_ranks)
        ]


def schedule_examples(
    groups: Sequence[Group], epochs: float, batch_size: int, seed: int
) -> Schedule:
    """The schedule of a training.

    Each epoch is a random permutation of the trajectories, from `seed`. So arms with the same
    number of trajectories use the same trajectories in the same optimizer steps, no matter how many
    examples each trajectory has. Within a step they are sorted by length, which reduces padding and
    does not change the loss.

    Raises:
        ConfigError: so few epochs that no trajectory is trained on.
    """
    num_visits = round(epochs * len(groups))
    if not num_visits:
        raise ConfigError(
            f"epochs={epochs} of {len(groups)} trajectories is less than one trajectory. Raise "
            "epochs."
        )
    rng = np.random.default_rng(seed)
    order: list[int] = []
    while len(order) < num_visits:
        order += rng.permutation(len(groups)).tolist()
    keys = [(_length(group), index) for index, group in enumerate(groups)]
    visits = [keys[index] for index in order[:num_visits]]
    starts = range(0, num_visits, batch_size)
    ordered = [visit for start in starts for visit in sorted(visits[start : start + batch_size])]
    return Schedule.in_order([groups[index] for _, index in ordered], batch_size)


def share_out(lengths: Sequence[int], num_ranks: int) -> list[list[int]]:
    """Indices into `lengths` for each rank, ascending, with about as many tokens for each."""
    shares: list[list[int]] = [[] for _ in range(num_ranks)]
    tokens = [0] * num_ranks
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        rank = min(range(num_ranks), key=lambda rank: (tokens[rank], rank))
        shares[rank].append(place)
        tokens[rank] += lengths[place]
    return [sorted(share) for share in shares]


def _length(group: Group) -> int:
    return max(len(example.input_ids) for example in group)
