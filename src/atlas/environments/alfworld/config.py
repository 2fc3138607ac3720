"""Settings of ALFWorld; importing them imports no package of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile


class AlfworldConfig(Config):
    """Settings of ALFWorld."""

    max_steps: int = Field(
        default=30, ge=1, description="number of turns after which an episode is truncated"
    )
    games: Path | None = Field(
        default=None,
        description=(
            "a folder with the games of ALFWorld (json_2.1.1); if none, games are generated from "
            "what the package ships"
        ),
    )
    mappings: Path | None = Field(
        default=None,
        description=(
            "a folder with AgentGym's mappings_train.json and mappings_test.json; the splits "
            "paper_train and paper_test need it"
        ),
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    def needed_extras(self) -> tuple[str, ...]:
        return ("alfworld",)
