"""The processes of one training: one alone, or the ranks that `torchrun` or `accelerate launch` started.

What a launcher set in the environment says how many there are, never what comes out. Rank 0 writes; the others follow. Where all
meet, an error of one ends all of them, and one of them says it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from atlas.errors import RankError, RunError
from atlas.models.local.load import import_transformers

T = TypeVar("T")
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Socket closed",
    "remote process has terminated",
)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all of its training: `index` of `size`."""

    index: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def together(self, act: Callable[[], T]) -> T:
        """What `act` gives; every rank calls it, and none goes on unless all of them can.

        Raises:
            RankError: it went well here and not at another rank, or a rank before this one says what went wrong.
        """
        if self.size == 1:
            return act()
        value, error = None, None
        try:
            value = act()
        except Exception as caught:
            error = caught
        failed = [
            rank for rank, has_failed in enumerate(self._gather(error is not None)) if has_failed
        ]
        if not failed:
            return value  # type: ignore[return-value]
        if error is not None and failed[0] == self.index:
            raise error
        raise RankError(
            f"rank {failed[0]} of this training has failed. See its message."
        ) from error

    def on_first(self, act: Callable[[], T]) -> T | None:
        """What `act` gives, called by rank 0 alone while the others wait; None at those."""
        return self.together(lambda: act() if self.is_first else None)

    def of_first(self, act: Callable[[], T]) -> T:
        """The same, and all ranks get what it gives."""
        value: T = self._gather(self.on_first(act))[0]  # type: ignore[assignment]
        return value

    @contextmanager
    def losing_none(self) -> Iterator[None]:
        """An error about a rank that is gone is the user's to read, not a traceback."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(sign in str(error) for sign in LOST):
                raise
            if self.is_first:
                message = "another process of this training has ended in the middle of it. See what it or its launcher says; "
                raise RunError(
                    f"{message}then run the same command again: it goes on from the last saved state."
                ) from error
            raise RankError(
                "another process of this training has ended in the middle of it."
            ) from error

    def _gather(self, value: T) -> list[T]:
        if self.size == 1:
            return [value]
        import torch

        values: list[T] = [value] * self.size
        torch.distributed.all_gather_object(values, value)
        return values


@contextmanager
def meet_ranks() -> Iterator[Ranks]:
    """The ranks that a launcher started, joined to one process group for as long as this lasts, or this process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    os.environ.setdefault(
        "TORCH_CPP_LOG_LEVEL", "ERROR"
    )  # every rank would warn that its model has no unused parameters
    import_transformers()
    import torch
    from accelerate import PartialState

    distributed = torch.distributed
    if distributed.is_initialized():  # the group is someone else's, who also leaves it
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
        return
    PartialState._reset_state()  # it may remember a group that was left
    state = PartialState(cpu=not torch.cuda.is_available())
    try:
        yield Ranks(state.process_index, state.num_processes)
    finally:
        distributed.destroy_process_group()  # a process that ends without may be aborted on its way out
