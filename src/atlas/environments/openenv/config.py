"""Settings of worlds on OpenEnv servers; importing them does not import websockets."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from atlas.config import SPEED_ONLY, Config
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile
from atlas.environments.seed_ranges import DEFAULT_RANGES, SeedRange, refuse_shared_seeds
from atlas.environments.success_rule import SuccessRule


class OpenEnvConfig(Config):
    """Which OpenEnv server is played, and how text becomes its actions."""

    base_url: Annotated[str, SPEED_ONLY] = Field(
        default="http://127.0.0.1:8000", description="the address of the server, without /ws"
    )
    world: str = Field(default="openenv", description="the world's name in records")
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    actions: Literal["text", "number", "json", "tools"] = Field(
        default="text",
        description="text or number: the action is the value of `action_field`; json: it is a JSON "
        "object of all fields; tools: the server's tools are called",
    )
    action_field: str = Field(
        default="text", description="the field of the server's action that holds the model's action"
    )
    action_fields: dict[str, Any] = Field(
        default_factory=dict, description="other fields of the action, the same at each step"
    )
    reply: Literal["react", "text"] = Field(
        default="react",
        description="react: the action is the line after the last `Action:`; text: the whole "
        "response is the action",
    )
    observation_key: str | None = Field(
        default=None,
        description="which part of the observation is shown, such as text or view.text; if none, "
        "its only text, or all of it as JSON",
    )
    invalid_pattern: re.Pattern[str] | None = Field(
        default=None,
        description="regular expression of what the world says after an action that it refused",
    )
    reset_fields: dict[str, Any] = Field(
        default_factory=dict, description="arguments of reset beside the seed"
    )
    outcome: SuccessRule = Field(
        default=SuccessRule(),
        description="when an episode is a success; its details are the fields of the observation "
        "and of its metadata",
    )
    splits: dict[str, SeedRange] = Field(
        default=DEFAULT_RANGES, description="the seeds of each split"
    )
    max_steps: int = Field(
        default=50, ge=1, description="number of turns after which an episode is truncated"
    )
    connect_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=10.0, gt=0, description="how long to try to reach the server"
    )
    timeout_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=60.0, gt=0, description="how long the server may take for one answer"
    )
    max_message_mib: Annotated[int, SPEED_ONLY] = Field(
        default=16, ge=1, description="the largest message that is accepted, in MiB"
    )

    @model_validator(mode="after")
    def _splits_share_no_task(self) -> OpenEnvConfig:
        refuse_shared_seeds(self.splits, self.reset_fields)
        for given in (self.reset_fields, *(one.kwargs for one in self.splits.values())):
            if "seed" in given:
                raise ValueError("seed is the task's own: leave it out of reset_fields and kwargs")
        return self

    @property
    def name(self) -> str:
        """What the world is called in records."""
        return self.world

    def needed_extras(self) -> tuple[str, ...]:
        return ("openenv",)
