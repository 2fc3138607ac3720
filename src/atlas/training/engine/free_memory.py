"""Gives the free parts of the heap back to the operating system.

glibc keeps what is freed. A layer's forward pass frees temporary tensors between results that stay,
and blocks of other sizes do not fit these holes, so the process grows by a third more than it uses.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any


def give_back_free_memory() -> None:
    """Give it back where the C library can; elsewhere nothing happens."""
    if (trim := _trim()) is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], Any] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        # Another C library than glibc, or Windows, which has no library of the process.
        return None
