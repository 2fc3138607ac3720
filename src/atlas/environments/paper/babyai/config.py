"""Settings of BabyAI in AgentGym's wording; importing them does not import minigrid."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from atlas.config import BY_CONTENT, Config
from atlas.environments.babyai.config import BabyAIExpertConfig


class BabyAIAgentGymConfig(Config):
    """Settings of BabyAI in AgentGym's wording."""

    max_steps: int = Field(
        default=20, ge=1, description="turns after which an episode is truncated; the paper's: 20"
    )
    available_actions: bool = Field(
        default=False,
        description="end each observation with the list of available actions, as AgentGym's server"
        " does; AgentTraj has no such list",
    )
    instruction: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="the instruction: a text, a text file, or a run folder of imported"
        " trajectories whose first messages are taken; none: a short text of ATLaS",
    )
    agenttraj: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="AgentTraj's babyai_train.json, or the run folder of its import: its item ids"
        " are the split paper_train",
    )
    agenteval: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="AgentEval's babyai_test.json: its item ids are the split paper_test",
    )
    drop_leaked: bool = Field(
        default=False, description="leave tasks of paper_train out of paper_test"
    )
    expert: BabyAIExpertConfig = Field(
        default=BabyAIExpertConfig(), description="how the expert plays"
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("babyai",)
