"""The processes of one training: a single one, or the ranks that a launcher started.

The environment variables of `torchrun` or `accelerate launch` set the number of ranks; they do not
affect the result. Only rank 0 writes. At points where all ranks wait for each other, an error of
one rank ends all of them, and only this rank reports it.
"""

from __future__ import annotations

import atexit
import datetime
import gc
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from atlas.errors import RankError, RunError
from atlas.models.local.load import import_transformers

T = TypeVar("T")
# The others wait while rank 0 saves, proves and uploads a checkpoint. By default a process group
# gives up after 10 minutes with NCCL and 30 with gloo.
LONGEST_WAIT = datetime.timedelta(hours=6)
MEETINGS = itertools.count()
# The backends of the process group that this process has joined, until it may let go of them.
JOINED_BACKENDS: list[Any] = []
# Parts of the error messages of a process group after another process has ended.
LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Socket closed",
    "remote process has terminated",
)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process as one of the `size` processes of a training.

    Attributes:
        meeting: the number of this training among those of the process, equal at all ranks.
    """

    index: int = 0
    size: int = 1
    meeting: int = 0

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def together(self, act: Callable[[], T]) -> T:
        """Every rank calls `act` and gets its own result. If one fails, all stop.

        Raises:
            RankError: `act` failed at another rank, which reports the error.
        """
        if self.size == 1:
            return act()
        value, error = None, None
        try:
            value = act()
        except Exception as caught:
            error = caught
        failed = self.gather(error is not None)
        if not any(failed):
            return value  # type: ignore[return-value]
        first = failed.index(True)
        if error is not None and first == self.index:
            raise error
        raise RankError(f"rank {first} of this training has failed. See its message.") from error

    def on_first(self, act: Callable[[], T]) -> T | None:
        """Rank 0 calls `act` while the others wait; they get None."""
        return self.together(lambda: act() if self.is_first else None)

    def of_first(self, act: Callable[[], T]) -> T:
        """Rank 0 calls `act` while the others wait; all get its result."""
        value: T = self.gather(self.on_first(act))[0]  # type: ignore[assignment]
        return value

    @contextmanager
    def reporting_once(self) -> Iterator[None]:
        """Let one rank report an error, and a missing rank without a traceback.

        The ranks that fail after it raise a RankError, for example because it has left.
        """
        try:
            yield
        except RankError:
            raise
        except Exception as error:
            if self.size == 1:
                raise
            ended = "another process of this training has ended in the middle of it."
            if not self._is_first_to_fail():
                raise RankError(ended) from error
            if not isinstance(error, RuntimeError) or not any(sign in str(error) for sign in LOST):
                raise
            raise RunError(
                f"{ended} See its message or its launcher's, then run the same command again: it "
                "resumes from the last saved state."
            ) from error

    def _is_first_to_fail(self) -> bool:
        """Ask the store of the process group, which answers after other ranks have left."""
        from torch.distributed import distributed_c10d

        try:
            store = distributed_c10d._get_default_store()
            return bool(store.add(f"atlas failures {self.meeting}", 1) == 1)
        except (RuntimeError, ValueError):
            # The process that holds the store has left.
            return True

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order."""
        if self.size == 1:
            return [value]
        import torch

        values: list[T] = [value] * self.size
        torch.distributed.all_gather_object(values, value)
        return values


def asks_for_shards() -> bool:
    """Whether the launcher asks for FSDP, as `accelerate launch` passes it on."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("true", "1")


@contextmanager
def meet_ranks() -> Iterator[Ranks]:
    """The ranks that a launcher started, joined to one process group; or this process only."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    # Otherwise every rank warns that its model has no unused parameters.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import_transformers()
    import torch

    # The threads of a group end with the last reference to it; if they outlive the interpreter, the
    # process is aborted. This module keeps the group that it finds when it is first imported.
    import torch.distributed.nn.functional
    from accelerate import PartialState

    distributed = torch.distributed
    if distributed.is_initialized():
        # The caller made the group and also leaves it.
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), next(MEETINGS))
        return
    _let_go_of_backends()
    atexit.register(_let_go_of_backends)
    # It may still refer to a group that this process has left.
    PartialState._reset_state()
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
    group: Any = distributed.group.WORLD
    JOINED_BACKENDS.extend(group._get_backend(device) for device in group._device_types)
    del group
    try:
        yield Ranks(state.process_index, state.num_processes, next(MEETINGS))
    finally:
        distributed.destroy_process_group()


def _let_go_of_backends() -> None:
    """End the threads of the groups that this process has left, without Python's lock.

    The end of gloo's backend waits for its threads, and a thread that has just finished a
    collective needs the lock to free its tensors. If the last reference is one of Python, torch
    releases the lock; if it is that of a `DistributedDataParallel`, it does not, and both wait for
    ever. So Python keeps one until the models are freed, also those in reference cycles or in the
    traceback of an error.
    """
    gc.collect()
    JOINED_BACKENDS.clear()
