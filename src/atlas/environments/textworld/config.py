"""Settings of TextWorld; importing them imports no package of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from atlas.config import SPEED_ONLY, Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile


class TextWorldConfig(Config):
    """Settings of TextWorld."""

    max_steps: int = Field(
        default=25, ge=1, description="number of turns after which an episode is truncated"
    )
    cache: Annotated[Path | None, SPEED_ONLY] = Field(
        default=None,
        description="the folder of compiled games; if none, the cache folder of the user",
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    def needed_extras(self) -> tuple[str, ...]:
        return ("textworld",)
