"""Settings of the SQL world."""

from __future__ import annotations

from pydantic import Field

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile


class SqlConfig(Config):
    """Settings of the SQL world."""

    max_steps: int = Field(
        default=15, ge=1, description="number of turns after which an episode is truncated"
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")
