"""A rank that leaves its group while a thread of gloo needs Python's lock to free its tensors.

`python -m torch.distributed.run --nproc-per-node 2 -m tests.training.leaving_ranks`
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from atlas.training.ranks import meet_ranks

TENSORS = 20_000


def train() -> None:
    """A step of a model that refers to the group, and to itself."""
    model: Any = DistributedDataParallel(torch.nn.Linear(2, 2))
    model.itself = model
    model(torch.ones(1, 2)).sum().backward()


def gather() -> None:
    """The thread that has done this frees its tensors, each with the lock."""
    values = [torch.ones(1) for _ in range(TENSORS)]
    everyones = [[torch.zeros(1) for _ in range(TENSORS)] for _ in range(2)]
    distributed.group.WORLD._get_backend(torch.device("cpu")).allgather_coalesced(
        everyones, values
    ).wait()


def keep_the_lock(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


if __name__ == "__main__":
    gc.disable()
    with meet_ranks():
        train()
        sys.setswitchinterval(1000)
        gather()
        keep_the_lock(0.2)
    gc.collect()
