"""A selector that is not in the table, as a user writes one: its settings and its sentence."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from atlas.config import Config
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.selectors.base import SelectorContext, selection_of

NAME = f"{__name__}:LongestSelector"


class LongestConfig(Config):
    """Settings of the selector below."""

    side: Literal["longest", "shortest"] = Field("longest", description="which end is taken")
    at_least: int = Field(0, ge=0, description="characters below which a response never counts")


class LongestSelector:
    """The steps with the longest responses."""

    Config = LongestConfig

    def __init__(self, config: LongestConfig, context: SelectorContext) -> None:
        self._config = config
        self._name = context.name

    @property
    def sentence(self) -> str:
        return f"the steps with the {self._config.side} responses"

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        sign = -1 if self._config.side == "longest" else 1
        lengths = [len(step.response.content) for step in trajectory.steps]
        found = [index for index, length in enumerate(lengths) if length >= self._config.at_least]
        best = sorted(found, key=lambda index: (sign * lengths[index], index))[:budget]
        return selection_of(
            trajectory, self._name, budget, (CriticalStep(index=index) for index in best)
        )
