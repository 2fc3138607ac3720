"""Settings of worlds of verifiers; importing them does not import verifiers."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from atlas.config import Config
from atlas.environments.success_rule import SuccessRule


class VerifiersWorldConfig(Config):
    """Which environment of verifiers is played."""

    id: str | None = Field(
        default=None, description="an installed environment, as `verifiers.load_environment` takes"
    )
    target: str | None = Field(
        default=None,
        description="instead of an id: package.module:callable, which returns the environment",
    )
    kwargs: dict[str, Any] = Field(
        default_factory=dict, description="arguments with which the environment is made"
    )
    world: str | None = Field(
        default=None, description="the world's name in records; if none, the id or the target"
    )
    outcome: SuccessRule = Field(
        default=SuccessRule(score_key="reward"),
        description="when an episode is a success; its details are the metrics of the rubric, and "
        "its reward, cut to 0 to 1",
    )
    invalid_pattern: re.Pattern[str] | None = Field(
        default=None,
        description="regular expression of what the world says after an action that it refused",
    )
    max_steps: int = Field(
        default=20, ge=1, description="number of turns after which an episode is truncated"
    )

    @property
    def name(self) -> str:
        """What the world is called in records."""
        return self.world or self.id or self.target or "verifiers"

    def needed_extras(self) -> tuple[str, ...]:
        return ("verifiers",)
