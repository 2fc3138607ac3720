"""Slow work of pages in a thread: `key, work -> result, or what is being done`.

A page asks again until the work is done. One piece of work runs at a time, because each may hold a
model. The last results are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that is not done: how many pieces of work come before it."""

    num_before: int


class Background(Generic[ResultT]):
    """Runs work for pages, each key once while its result is kept.

    Args:
        num_kept: how many results are kept.
        patience_seconds: how long a page waits before it says that the work runs.
    """

    def __init__(self, num_kept: int = 8, patience_seconds: float = 0.6) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="atlas-view")
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, Future[ResultT]] = OrderedDict()
        self._num_kept = num_kept
        self._patience = patience_seconds

    def ask(self, key: Hashable, work: Callable[[], ResultT]) -> ResultT | Waiting:
        """The result of the work; `Waiting` if it takes longer. What the work raises is raised."""
        with self._lock:
            future = self._found.get(key)
            if future is None:
                future = self._found[key] = self._pool.submit(work)
            self._found.move_to_end(key)
            self._forget()
        try:
            return future.result(self._patience)
        except NotYet:
            if future.done():
                # The work itself took too long for something, and says so.
                self._drop(key, future)
                raise
            return Waiting(self._num_before(future))
        except CancelledError:
            # Many other pages were asked for in the meantime.
            self._drop(key, future)
            return Waiting(self._num_kept)
        except BaseException:
            # A fault is reported once; the next request tries again.
            self._drop(key, future)
            raise

    def _num_before(self, future: Future[ResultT]) -> int:
        with self._lock:
            others = [each for each in self._found.values() if each is not future]
        return sum(not each.done() for each in others) if not future.running() else 0

    def _drop(self, key: Hashable, future: Future[ResultT]) -> None:
        with self._lock:
            if self._found.get(key) is future:
                del self._found[key]

    def _forget(self) -> None:
        """Forget the oldest results; work that waits is not begun, if nobody asked lately."""
        for key in list(self._found)[: max(0, len(self._found) - self._num_kept)]:
            future = self._found[key]
            if future.done() or future.cancel():
                del self._found[key]
