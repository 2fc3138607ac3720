"""Settings of the office."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile


class OfficeConfig(Config):
    """Settings of the office."""

    max_steps: int = Field(
        default=15, ge=1, description="number of turns after which an episode is truncated"
    )
    calls: Literal["native", "text"] = Field(
        default="native",
        description=(
            "native: the tools are offered as schemas, and called natively; text: the instruction "
            "lists them, and a call is ReAct text, for chat templates that cannot write tools"
        ),
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")
