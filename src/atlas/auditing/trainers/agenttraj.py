"""AgentGym's behavior cloning on AgentTraj: every gpt turn, whatever its `loss` says.

Read in its code, not run: the conversation template marks the words of gpt turns and their end.
"""

from __future__ import annotations

from pydantic import Field

from atlas.auditing.trainers.base import LengthConfig, TrainerContext
from atlas.auditing.trainers.flagged_turns import FlaggedTurns


class AgentTrajConfig(LengthConfig):
    """Settings of `agenttraj`."""

    max_length: int | None = Field(
        default=4096, ge=1, description="tokens of a row; the end of longer rows is cut"
    )
    read_loss: bool = Field(
        default=False,
        description="whether your trainer reads `loss`; AgentGym's own trains every gpt turn",
    )


class AgentTrajTrainer(FlaggedTurns):
    """Every gpt turn: AgentGym's own trainer does not read `loss`."""

    Config = AgentTrajConfig
    version = "AgentGym, its code of 2024"
    columns = ("conversations",)
    spellings = ("from",)
    reads_system = False

    def __init__(self, config: AgentTrajConfig, context: TrainerContext) -> None:
        super().__init__(config, context)
        self.flag = "loss" if config.read_loss else None
