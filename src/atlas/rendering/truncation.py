"""Shortens trajectories that are longer than the token limit.

`drop_tail` keeps the context of every remaining step as the agent will see it (ATLaS §3.3: the
whole trajectory stays in the context). `cut_observations` keeps more critical steps, under a
history with gaps that an agent never sees at inference.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Literal

from atlas.records import Message, Step, Trajectory

Truncation = Literal["drop_tail", "cut_observations"]
MARKER = "[observation left out]"


def cut_observations(
    trajectory: Trajectory,
    wanted: Sequence[int],
    fits: Callable[[Trajectory, int], bool],
    is_long: Callable[[str], bool],
) -> tuple[Trajectory, tuple[int, ...]]:
    """Replace as few observations as possible by MARKER, so that the last wanted step fits.

    If that is not possible, the wanted step before it is tried, and so on. If no step can fit,
    nothing is cut. The first observation is kept, because it contains the task. The observations
    that are farthest from a wanted step are cut first; of equally far ones, the earlier.

    Args:
        wanted: the steps to keep, ascending.
        fits: whether a trajectory up to the end of a step's response is short enough.
        is_long: whether a text has more tokens than MARKER.

    Returns:
        The shortened trajectory, and the steps whose observations were cut.
    """

    @cache
    def is_cut(message: Message) -> bool:
        return message.role in ("user", "tool") and is_long(message.content)

    def shortened(cut: Collection[int]) -> Trajectory:
        steps = tuple(
            _without_observation(step, is_cut) if index in cut else step
            for index, step in enumerate(trajectory.steps)
        )
        return trajectory.model_copy(update={"steps": steps})

    can_cut = [
        index
        for index in range(1, wanted[-1] + 1)
        if any(map(is_cut, trajectory.steps[index].observation))
    ]
    shortest = shortened(frozenset(can_cut))
    num_kept = _last_true(len(wanted), lambda number: fits(shortest, wanted[number - 1]))
    if not num_kept or fits(trajectory, wanted[num_kept - 1]):
        return trajectory, ()
    order = _farthest_first(can_cut, wanted[:num_kept])
    last = wanted[num_kept - 1]
    num_whole = _last_true(
        len(order) - 1,
        lambda number: fits(shortened(frozenset(order[: len(order) - number])), last),
    )
    cut = order[: len(order) - num_whole]
    return shortened(frozenset(cut)), tuple(sorted(cut))


def _last_true(highest: int, holds: Callable[[int], bool]) -> int:
    """The largest number of 1 to `highest` for which `holds` is true; 0: none.

    It must be true for all smaller numbers too.
    """
    low, high = 0, highest
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _farthest_first(steps: Sequence[int], kept: Sequence[int]) -> list[int]:
    """The steps up to the last kept one: those not kept, farthest first, then the kept ones."""
    chosen = frozenset(kept)

    def order(step: int) -> tuple[bool, int, int]:
        place = bisect_left(kept, step)
        near = min(abs(step - other) for other in kept[max(0, place - 1) : place + 1])
        return step in chosen, -near, step

    return sorted((step for step in steps if step <= kept[-1]), key=order)


def _without_observation(step: Step, is_cut: Callable[[Message], bool]) -> Step:
    seen = tuple(
        message.model_copy(update={"content": MARKER}) if is_cut(message) else message
        for message in step.observation
    )
    return step.model_copy(update={"observation": seen})
