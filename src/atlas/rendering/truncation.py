"""Shortens trajectories that are longer than the token limit.

`drop_tail` keeps the context of every remaining step as the agent will see it (ATLaS §3.3: the
whole trajectory stays in the context). `cut_observations` keeps more critical steps, under a
history with gaps that an agent never sees at inference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

from atlas.records import Message, Step, Trajectory

Truncation = Literal["drop_tail", "cut_observations"]
MARKER = "[observation left out]"


def cut_observations(
    trajectory: Trajectory,
    wanted: Sequence[int],
    max_tokens: int,
    tokens_through: Callable[[Trajectory, int], int],
    tokens_of: Callable[[str], int],
) -> tuple[Trajectory, tuple[int, ...]]:
    """Replace as few observations as possible by MARKER, so that the last wanted step fits.

    If that is not possible, the wanted step before it is tried, and so on. If no step can fit,
    nothing is cut. The first observation is kept, because it contains the task. The observations
    that are farthest from a wanted step are cut first; of equally far ones, the earlier.

    Args:
        wanted: the steps to keep, ascending.
        tokens_through: the tokens of a trajectory up to the end of a step's response.
        tokens_of: the tokens of a text.

    Returns:
        The shortened trajectory, and the steps whose observations were cut.
    """

    def shortened(cut: Collection[int]) -> Trajectory:
        steps = tuple(
            _without_observation(step, is_cut) if index in cut else step
            for index, step in enumerate(trajectory.steps)
        )
        return trajectory.model_copy(update={"steps": steps})

    def is_cut(message: Message) -> bool:
        return message.role in ("user", "tool") and tokens_of(message.content) > marker_tokens

    marker_tokens = tokens_of(MARKER)
    for number in range(len(wanted), 0, -1):
        kept, last = wanted[:number], wanted[number - 1]
        if tokens_through(trajectory, last) <= max_tokens:
            return trajectory, ()
        order = sorted(
            (
                index
                for index in range(1, last + 1)
                if any(map(is_cut, trajectory.steps[index].observation))
            ),
            key=lambda index: (index in kept, -min(abs(index - step) for step in kept), index),
        )
        if tokens_through(shortened(order), last) > max_tokens:
            continue
        too_few, enough = 0, len(order)
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            if tokens_through(shortened(order[:middle]), last) <= max_tokens:
                enough = middle
            else:
                too_few = middle
        return shortened(order[:enough]), tuple(sorted(order[:enough]))
    return trajectory, ()


def _without_observation(step: Step, is_cut: Callable[[Message], bool]) -> Step:
    seen = tuple(
        message.model_copy(update={"content": MARKER}) if is_cut(message) else message
        for message in step.observation
    )
    return step.model_copy(update={"observation": seen})
