"""Settings of BabyAI and of its expert; importing them does not import minigrid."""

from __future__ import annotations

from pydantic import Field

from atlas.config import Config


class BabyAIExpertConfig(Config):
    """How the expert of BabyAI plays. Collected data names these settings as its source."""

    detour_rate: float = Field(
        default=0.1, ge=0, le=1, description="probability per step that the expert makes a detour"
    )
    mistake_rate: float = Field(
        default=0.1, ge=0, le=1, description="probability per step that the expert makes a mistake"
    )


class BabyAIConfig(Config):
    """Settings of BabyAI."""

    max_steps: int = Field(
        default=20, ge=1, description="number of turns after which an episode is truncated"
    )
    expert: BabyAIExpertConfig = Field(
        default=BabyAIExpertConfig(), description="how the expert plays"
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("babyai",)
