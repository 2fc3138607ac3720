"""Replaces the forward passes of modules, and gives back what was there.

A module may have a forward pass as an attribute: a hook of accelerate moves or loads weights in it,
and other wrappers compute in another type. It is still called inside the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ReplacedForwards:
    """The modules whose forward pass is replaced."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, Callable[..., Any] | None]] = []

    def put_in(self, module: Any, forward: Callable[..., Any]) -> None:
        """Let `module` run `forward` when it is called."""
        self._before.append((module, module.__dict__.get("forward")))
        module.__dict__["forward"] = forward

    def take_out(self) -> None:
        """Give every module the forward pass that it had."""
        while self._before:
            module, forward = self._before.pop()
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.__dict__["forward"] = forward
