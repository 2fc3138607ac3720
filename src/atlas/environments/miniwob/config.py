"""Settings of MiniWoB++; importing them imports no package of it."""

from __future__ import annotations

from pydantic import Field

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile


class MiniWobConfig(Config):
    """Settings of MiniWoB++."""

    max_steps: int = Field(
        default=15, ge=1, description="number of turns after which an episode is truncated"
    )
    browser: str | None = Field(
        default=None,
        description="the path or name of Chromium or Chrome; if none, it is searched on PATH",
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    def needed_extras(self) -> tuple[str, ...]:
        return ("web",)
