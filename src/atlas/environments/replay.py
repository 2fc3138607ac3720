"""Restores a state of a recorded episode: reset to the task, and the recorded responses again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from atlas.environments.episode import Episode
from atlas.environments.play import Opening
from atlas.records import Message, Source, Trajectory


def replay_opening(
    trajectory: Trajectory, num_steps: int, name: str, source: Source, *, is_exact: bool = False
) -> Opening:
    """An episode that continues after the first `num_steps` recorded responses.

    Args:
        is_exact: the episode ends as an error if the replay shows other observations than recorded.
    """
    responses = tuple(step.response for step in trajectory.steps[:num_steps])
    check = partial(replay_difference, trajectory=trajectory, num_steps=num_steps)
    return Opening(
        name,
        trajectory.task,
        source,
        trajectory.prompt,
        responses,
        check=check if is_exact else None,
    )


def replay_difference(replayed: Episode, trajectory: Trajectory, num_steps: int) -> str | None:
    """How the replay of the first steps of a trajectory differs from the record, if it does."""
    if replayed.outcome is not None and replayed.outcome.status == "error":
        return f"its replay broke: {replayed.outcome.reason}"
    for index, (step, recorded) in enumerate(zip(replayed.steps, trajectory.steps, strict=False)):
        if step.observation != recorded.observation:
            both = _both(step.observation, recorded.observation)
            return f"its replay differs before step {index}: {both}"
    if len(replayed.steps) < num_steps:
        return f"its replay was over after {len(replayed.steps)} of {num_steps} steps"
    is_whole = num_steps == len(trajectory.steps)
    seen = replayed.observation
    recorded_next = (
        trajectory.final_observation if is_whole else trajectory.steps[num_steps].observation
    )
    # Some logs end with the last response.
    if seen != recorded_next and (recorded_next or not is_whole):
        where = "at the end" if is_whole else f"before step {num_steps}"
        return f"its replay differs {where}: {_both(seen, recorded_next)}"
    return None


def _both(seen: Sequence[Message], recorded: Sequence[Message]) -> str:
    texts = [" ".join(message.content for message in messages) for messages in (seen, recorded)]
    return f"{texts[0]!r:.100} was seen, {texts[1]!r:.100} is recorded"
