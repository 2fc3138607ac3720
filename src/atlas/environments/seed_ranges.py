"""Splits of worlds whose tasks are seeds: each split has its own range of seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, islice
from typing import Any

from pydantic import Field

from atlas.config import Config
from atlas.environments.splits import SEED_STRIDE, check_split, too_few
from atlas.records import Task


class SeedRange(Config):
    """The tasks of a split: seeds, and what differs in this split."""

    first_seed: int = Field(ge=0, description="the first seed of the split")
    num_seeds: int = Field(default=1_000_000, ge=1, description="number of seeds in the split")
    kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of this split, which win over those of all splits",
    )


DEFAULT_RANGES = {
    "train": SeedRange(first_seed=0),
    "held_in_test": SeedRange(first_seed=1_000_000),
}


def refuse_shared_seeds(splits: Mapping[str, SeedRange], shared: Mapping[str, Any]) -> None:
    """Check that no two splits with the same arguments have a seed in common.

    Args:
        shared: the arguments of all splits.

    Raises:
        ValueError: a task would be in two splits, or no split is given.
    """
    if not splits:
        raise ValueError("is empty, expected at least one split")
    for (name, one), (other, two) in combinations(splits.items(), 2):
        first = max(one.first_seed, two.first_seed)
        last = min(one.first_seed + one.num_seeds, two.first_seed + two.num_seeds) - 1
        if first <= last and {**shared, **one.kwargs} == {**shared, **two.kwargs}:
            raise ValueError(
                f"'{name}' and '{other}' have the seeds {first} to {last} in common. Give each "
                "split its own seeds"
            )


def seed_tasks(
    world: str, splits: Mapping[str, SeedRange], split: str, num_tasks: int, seed: int
) -> list[Task]:
    """The first `num_tasks` tasks of a split, from a place that `seed` determines.

    Raises:
        ConfigError: the split is unknown, or has fewer seeds.
    """
    check_split(world, split, splits)
    if num_tasks > (num_seeds := splits[split].num_seeds):
        raise too_few(world, split, num_tasks, num_seeds)
    return list(islice(iterate_tasks(world, splits[split], split, seed), num_tasks))


def iterate_tasks(world: str, seeds: SeedRange, split: str, seed: int) -> Iterator[Task]:
    """All tasks of a split, from a place that `seed` determines."""
    for number in range(seeds.num_seeds):
        own = seeds.first_seed + (seed * SEED_STRIDE + number) % seeds.num_seeds
        yield Task(
            id=f"{world}/{split}/{own}", environment=world, group=split, split=split, seed=own
        )
