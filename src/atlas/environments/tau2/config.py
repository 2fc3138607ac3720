"""Settings of τ²-bench; importing them does not import tau2."""

from __future__ import annotations

from pydantic import Field

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile


class Tau2Config(Config):
    """Settings of τ²-bench."""

    max_steps: int = Field(
        default=100, ge=1, description="number of turns after which an episode is truncated"
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    def needed_extras(self) -> tuple[str, ...]:
        return ("tau2",)
