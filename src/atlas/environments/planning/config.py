"""Settings of the planning puzzles."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from atlas.config import Config
from atlas.environments.experts import ExpertConfig
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile

DomainName = Literal["gripper", "blockworld", "tyreworld", "barman"]


class PlanningConfig(Config):
    """Settings of the planning puzzles."""

    max_steps: int = Field(
        default=30, ge=1, description="number of turns after which an episode is truncated"
    )
    domains: tuple[DomainName, ...] = Field(
        default=("gripper", "blockworld", "tyreworld"),
        min_length=1,
        description=(
            "the domains of the splits train and held_in_test; held_out_test has larger problems "
            "of these, and the other domains"
        ),
    )
    problems: Path | None = Field(
        default=None,
        description=(
            "a folder of PDDL files for the split paper_test: for each domain NAME.pddl, and its "
            "problems in the folder NAME"
        ),
    )
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    expert: ExpertConfig = Field(default=ExpertConfig(), description="how the expert plays")

    @field_validator("domains")
    @classmethod
    def _are_different(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names a domain twice")
        return value
