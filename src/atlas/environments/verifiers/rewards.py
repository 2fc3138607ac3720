"""Reward functions that raise an error: verifiers logs it and counts 0, which is not a verdict."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from inspect import isawaitable
from typing import Any

from atlas.errors import EpisodeError

# What the reward functions raised in the rollout of this context.
_FAULTS: ContextVar[list[EpisodeError] | None] = ContextVar("faults", default=None)


def watch_rewards(rubric: Any) -> None:
    """Make the functions of a rubric, or of a group of them, keep what they raise."""
    for inner in getattr(rubric, "rubrics", ()):
        watch_rewards(inner)
    if hasattr(rubric, "funcs"):
        rubric.funcs = [_watched(func) for func in rubric.funcs]


async def score_rollout(rubric: Any, state: Any) -> None:
    """Score a rollout by a watched rubric.

    Raises:
        EpisodeError: a reward function raised an error.
    """
    faults: list[EpisodeError] = []
    _FAULTS.set(faults)
    await rubric.score_rollout(state)
    if faults:
        raise faults[0]


def _watched(func: Callable[..., Any]) -> Callable[..., Any]:
    if getattr(func, "is_watched", False):
        return func

    @wraps(func)
    async def call(*arguments: Any, **named: Any) -> Any:
        try:
            found = func(*arguments, **named)
            return await found if isawaitable(found) else found
        except Exception as error:
            name = getattr(func, "__name__", repr(func))
            faults = _FAULTS.get()
            if faults is not None:
                said = f"the reward function {name} failed: {type(error).__name__}: {error}"
                faults.append(EpisodeError(said))
            raise

    call.is_watched = True  # type: ignore[attr-defined]
    return call
