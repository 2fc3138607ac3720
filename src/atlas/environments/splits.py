"""Divides generated tasks into splits by content, so that no test task equals a training task.

Two seeds may generate the same task. The split is therefore a function of what the task is (its
first text and its solution), never of its seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TypeVar

from atlas.errors import ConfigError
from atlas.lookup import nearest
from atlas.records import Task

ItemT = TypeVar("ItemT")
KindT = TypeVar("KindT")
# Of 10 generated tasks, 8 are for training.
SHARES: dict[str, int] = {"train": 8, "held_in_test": 2}
# Between the first tasks of two seeds of a run, so that they do not play the same tasks.
SEED_STRIDE = 100_003


def split_of(content: str, shares: Mapping[str, int] = SHARES) -> str:
    """The split that a task with this content belongs to.

    Args:
        shares: how many of `sum(shares.values())` tasks each split gets.
    """
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    rest = int.from_bytes(digest[:8], "big") % sum(shares.values())
    for split, share in shares.items():
        if rest < share:
            return split
        rest -= share
    raise AssertionError("the shares cover every remainder")


def check_split(world: str, split: str, known: Sequence[str] | Mapping[str, object]) -> None:
    """Refuse a split that a world does not have.

    Raises:
        ConfigError: the split is unknown; the message has the nearest name.
    """
    if split not in known:
        raise ConfigError(f"{world}: split '{split}' is not known. {nearest(split, known)}")


def kinds_in_turn(kinds: Iterable[KindT], seed: int) -> Iterator[tuple[KindT, int]]:
    """Endless pairs of a kind and the seed of a task: each kind once per seed, in their order.

    Args:
        seed: of the run; it determines the first seed of the tasks.
    """
    listed = tuple(kinds)
    for own_seed in count(seed * SEED_STRIDE):
        for kind in listed:
            yield kind, own_seed


def draw_tasks(
    world: str,
    split: str,
    num_tasks: int,
    candidates: Iterator[tuple[str, Task]],
    belongs: Callable[[str], bool],
    max_misses: int = 10_000,
) -> list[Task]:
    """The first `num_tasks` candidates of a split, each content once.

    Args:
        candidates: content and task, in the order of the seeds.
        belongs: whether a content belongs to the split, such as one of `split_of`.
        max_misses: after so many candidates in a row without a new task, the split is used up.

    Raises:
        ConfigError: the split has fewer tasks.
    """
    tasks: list[Task] = []
    seen: set[bytes] = set()
    misses = 0
    while len(tasks) < num_tasks:
        content, task = next(candidates, (None, None))
        if task is None or misses > max_misses:
            raise too_few(world, split, num_tasks, len(tasks))
        assert content is not None
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
        if digest in seen or not belongs(content):
            misses += 1
            continue
        seen.add(digest)
        tasks.append(task)
        misses = 0
    return tasks


def take_tasks(world: str, split: str, num_tasks: int, items: Sequence[ItemT]) -> list[ItemT]:
    """The first `num_tasks` of a fixed list of tasks.

    Raises:
        ConfigError: the split has fewer tasks.
    """
    if num_tasks > len(items):
        raise too_few(world, split, num_tasks, len(items))
    return list(items[:num_tasks])


def too_few(world: str, split: str, num_tasks: int, num_known: int) -> ConfigError:
    """The error for more tasks than a split has."""
    asked = f"{num_tasks:,} tasks asked of split '{split}', which holds {num_known:,}"
    return ConfigError(f"{world}: {asked}. Ask for fewer.")
