"""Settings of Jericho; importing them imports no package of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.config import Config
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile


class JerichoConfig(Config):
    """Settings of Jericho."""

    games: Path | None = Field(
        default=None, description="a story file (.z3 to .z8), or a folder of them; it is required"
    )
    max_steps: int = Field(
        default=100, ge=1, description="number of turns after which an episode is truncated"
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)

    def needed_extras(self) -> tuple[str, ...]:
        return ("jericho",)
