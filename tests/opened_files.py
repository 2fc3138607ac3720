"""How often a file was opened, counted by an audit hook of the interpreter."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_opened: Counter[str] = Counter()


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _opened[_key(arguments[0])] += 1


def _key(path: str | bytes | os.PathLike[str]) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100


# A hook cannot be removed again, so there is one for all tests.
sys.addaudithook(_count)


def opens_of(path: Path) -> Callable[[], int]:
    """A function that says how often `path` has been opened since this call."""
    key = _key(path)
    before = _opened[key]
    return lambda: _opened[key] - before
