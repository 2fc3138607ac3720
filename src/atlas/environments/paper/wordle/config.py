"""Settings of Wordle."""

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


class WordleConfig(Config):
    """Settings of Wordle."""

    max_steps: int = Field(
        default=8,
        ge=1,
        description="turns after which an episode is truncated; the paper's: 8. The game itself"
        " ends after 6 guesses",
    )
    vocabulary: TextOrFile | None = Field(
        default=None,
        description="the words of the paper's games, in AgentGym's order: a file with a word a"
        " line, the JSON answer of a server's filtered_vocab, or a run folder of imported"
        " trajectories; generated games have words of their own",
    )
    instruction: TextOrFile | None = Field(
        default=None,
        description=INSTRUCTION_HELP + "; of a run folder, also the rules in the first observation",
    )
    agenttraj: ItemSource | None = Field(default=None, description=AGENTTRAJ_HELP)
    agenteval: ItemSource | None = Field(
        default=None, description=AGENTEVAL_HELP + "; if none, the known ids"
    )
    drop_leaked: bool = Field(default=False, description=DROP_LEAKED_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")
