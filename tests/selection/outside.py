"""A selector that is not in the table, as a user writes one: its settings and its sentence."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.config import Config
from atlas.records import Selection, Trajectory
from atlas.selection.selectors.base import SelectorBase

NAME = f"{__name__}:LongestSelector"


class LongestConfig(Config):
    """Settings of the selector below."""

    side: Literal["longest", "shortest"] = Field(
        default="longest", description="which end is taken"
    )
    at_least: int = Field(
        default=0, ge=0, description="characters below which a response never counts"
    )


class LongestSelector(SelectorBase[LongestConfig]):
    """The steps with the longest responses."""

    Config = LongestConfig

    @property
    def sentence(self) -> str:
        return f"the steps with the {self.config.side} responses"

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        sign = -1 if self.config.side == "longest" else 1
        lengths = [len(step.response.content) for step in trajectory.steps]
        found = [index for index, length in enumerate(lengths) if length >= self.config.at_least]
        best = sorted(found, key=lambda index: (sign * lengths[index], index))[:budget]
        return self.selection_of(trajectory, budget, best)
