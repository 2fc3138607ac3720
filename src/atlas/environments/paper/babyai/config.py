"""Settings of BabyAI in AgentGym's wording; importing them does not import minigrid."""

from __future__ import annotations

from pydantic import Field

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile
from atlas.environments.paper.items import (
    AGENTEVAL_HELP,
    AGENTTRAJ_HELP,
    DROP_LEAKED_HELP,
    ItemSource,
)
from atlas.environments.paper.responses import CLIENT_HELP, WORDING_HELP, Client, Wording


class BabyAIAgentGymConfig(Config):
    """Settings of BabyAI in AgentGym's wording."""

    max_steps: int = Field(
        default=20, ge=1, description="turns after which an episode is truncated; the paper's: 20"
    )
    wording: Wording = Field(
        default="agenttraj",
        description=WORDING_HELP + ", which end with a list of available actions",
    )
    client: Client = Field(default=2025, description=CLIENT_HELP)
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    agenttraj: ItemSource | None = Field(default=None, description=AGENTTRAJ_HELP)
    agenteval: ItemSource | None = Field(default=None, description=AGENTEVAL_HELP)
    drop_leaked: bool = Field(default=False, description=DROP_LEAKED_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    def needed_extras(self) -> tuple[str, ...]:
        return ("babyai",)
