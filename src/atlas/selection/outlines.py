"""What a summary of selections needs of each trajectory, small enough to keep for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from atlas.records import OutcomeStatus, Trajectory


@dataclass(frozen=True, slots=True)
class Outline:
    """How a trajectory ended, and the action types of each of its steps."""

    status: OutcomeStatus
    action_types: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, trajectory: Trajectory) -> Outline:
        types = tuple(_shared(step.action_types) for step in trajectory.steps)
        return cls(trajectory.outcome.status, types)


@lru_cache(maxsize=4096)
def _shared(types: tuple[str, ...]) -> tuple[str, ...]:
    """One object for all steps with these types: a million steps hold a few of them."""
    return types
