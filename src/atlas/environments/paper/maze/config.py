"""Settings of the maze."""

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
from atlas.environments.paper.responses import WORDING_HELP, Wording


class MazeConfig(Config):
    """Settings of the maze."""

    max_steps: int | None = Field(
        default=None,
        ge=1,
        description="turns after which an episode is truncated; if none, 15 in the paper's games"
        " (the paper's limit), and twice the number of cells in generated mazes",
    )
    wording: Wording = Field(
        default="agenttraj",
        description=WORDING_HELP + "; AgentTraj's end with a line break",
    )
    instruction: TextOrFile | None = Field(
        default=None,
        description=INSTRUCTION_HELP + "; of a run folder, also the rules in the first observation",
    )
    agenttraj: ItemSource | None = Field(
        default=None, description=AGENTTRAJ_HELP + "; if none, the known ids"
    )
    agenteval: ItemSource | None = Field(
        default=None, description=AGENTEVAL_HELP + "; if none, the known ids"
    )
    drop_leaked: bool = Field(default=False, description=DROP_LEAKED_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")
