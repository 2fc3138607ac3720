"""Settings of BabyAI; importing them does not import minigrid."""

from __future__ import annotations

from pydantic import Field

from atlas.config import Config
from atlas.environments.experts import ExpertConfig


class BabyAIConfig(Config):
    """Settings of BabyAI."""

    max_steps: int = Field(
        default=20, ge=1, description="number of turns after which an episode is truncated"
    )
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    def needed_extras(self) -> tuple[str, ...]:
        return ("babyai",)
