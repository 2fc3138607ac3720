"""A selector for one question: do critical steps work once no action type is left out?

Use it as `covering:CoveringSelector`, with this folder in PYTHONPATH.
"""

from __future__ import annotations

import hashlib

from pydantic import Field

from atlas.config import Config
from atlas.records import Trajectory
from atlas.selection.selectors.base import SelectorContext


class CoveringConfig(Config):
    """Settings of the selector that covers action types."""

    types: tuple[str, ...] = Field(description="the action types to cover")
    share: float = Field(ge=0, le=1, description="share of trajectories that give such a step")


class CoveringSelector:
    """The steps that their source marks; in a share of trajectories, steps of given action types.

    Which trajectories these are, and which of their steps, is drawn at random.
    """

    Config = CoveringConfig
    sentence = "the steps that their source marks, and random steps of the types that it leaves out"

    def __init__(self, config: CoveringConfig, context: SelectorContext) -> None:
        self._config = config
        self._seed = context.seed

    @classmethod
    def draws(cls, config: CoveringConfig) -> bool:
        return True

    def score(self, trajectory: Trajectory) -> list[float | None]:
        is_covering = self._lot(trajectory.id, -1) < self._config.share
        scores: list[float | None] = []
        for index, step in enumerate(trajectory.steps):
            is_of_types = any(name in self._config.types for name in step.action_types)
            if is_covering and is_of_types:
                scores.append(2 + self._lot(trajectory.id, index))
            else:
                mark = step.annotation
                scores.append(mark.score or 1.0 if mark is not None and mark.is_marked else None)
        return scores

    def _lot(self, id_: str, place: int) -> float:
        """A number from 0 to 1 that depends on the seed, the trajectory and the place."""
        digest = hashlib.sha256(f"{self._seed} {place} {id_}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64
