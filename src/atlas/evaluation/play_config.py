"""The settings of every evaluation, of one environment or of a suite: who plays, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from atlas.config import BY_CONTENT, SPEED_ONLY
from atlas.environments.episode_limits import EpisodeLimits
from atlas.environments.worlds import Limits
from atlas.kinds import Choice
from atlas.models.players import PLAYER
from atlas.workers.ray_workers import WorkersConfig


class PlayConfig(WorkersConfig):
    """Which model plays, and how it answers."""

    model: Annotated[str, BY_CONTENT] = Field(
        description="a hub id, a model folder, or a run folder of train; for the player "
        "`endpoint`, the model's name at the provider or server"
    )
    player: Annotated[Choice, PLAYER] = Field(
        default=Choice("local"),
        description="a player listed below, or your own as package.module:Class",
    )
    seed: int = Field(default=0, ge=0, description="seed for the choice of tasks, and for sampling")
    sampling_seed: int | None = Field(
        default=None,
        ge=0,
        description="seed for sampling, if it differs from `seed`: the same tasks are played again "
        "with other answers, as a repetition",
    )
    worlds: Annotated[int, SPEED_ONLY] = Field(
        default=64,
        ge=1,
        description="how many environments run at a time; the player limits how many "
        "answers are generated at a time",
    )
    limits: Limits = Field(default=Limits(), description="time limits for an environment")
    episode_limits: EpisodeLimits = Field(
        default=EpisodeLimits(), description="limits of one episode, for any environment"
    )

    @property
    def player_seed(self) -> int:
        """The seed with which the player samples."""
        return self.seed if self.sampling_seed is None else self.sampling_seed
