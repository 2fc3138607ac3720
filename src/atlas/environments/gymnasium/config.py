"""Settings of worlds of Gymnasium; importing them does not import gymnasium."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from atlas.config import Config
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile
from atlas.environments.seed_ranges import DEFAULT_RANGES, SeedRange, refuse_shared_seeds
from atlas.environments.success_rule import SuccessRule


class GymnasiumConfig(Config):
    """Which world of Gymnasium is played, and how text goes in and out."""

    id: str | None = Field(
        default=None, description="an id of Gymnasium, such as FrozenLake-v1 or my_lab:Corridor-v0"
    )
    target: str | None = Field(
        default=None,
        description="instead of an id: package.module:callable, which returns the gymnasium.Env",
    )
    kwargs: dict[str, Any] = Field(
        default_factory=dict, description="arguments with which the world is made"
    )
    world: str | None = Field(
        default=None, description="the world's name in records; if none, the id or the target"
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    observation: Literal["text", "json", "render"] = Field(
        default="text",
        description="text: the observation is text; json: it is written as JSON; render: the "
        "drawing of render_mode=ansi is shown",
    )
    observation_key: str | None = Field(
        default=None,
        description="which part of the observation is shown, such as text or view.text; if none, "
        "the whole",
    )
    actions: dict[str, Any] | tuple[str, ...] | None = Field(
        default=None,
        description="words for the actions: a list (the first word is the first action) or a "
        "mapping from word to action; if none, the text itself, or the number of the action",
    )
    reply: Literal["react", "text"] = Field(
        default="react",
        description="react: the action is the line after the last `Action:`; text: the whole "
        "response is the action",
    )
    invalid_key: str | None = Field(
        default=None, description="key of info that is true if the world refused the action"
    )
    outcome: SuccessRule = Field(
        default=SuccessRule(), description="when an episode is a success; its details are info"
    )
    splits: dict[str, SeedRange] = Field(
        default=DEFAULT_RANGES, description="the seeds of each split"
    )
    divide: Literal["seed", "observation"] = Field(
        default="seed",
        description="how splits are kept apart. seed: by their seeds; observation: each first "
        "observation is in one split only, and once",
    )
    max_steps: int = Field(
        default=50, ge=1, description="number of turns after which an episode is truncated"
    )

    @model_validator(mode="after")
    def _splits_share_no_task(self) -> GymnasiumConfig:
        refuse_shared_seeds(self.splits, self.kwargs)
        return self

    @property
    def name(self) -> str:
        """What the world is called in records."""
        return self.world or self.id or self.target or "gymnasium"

    def needed_extras(self) -> tuple[str, ...]:
        return ("gym",)
