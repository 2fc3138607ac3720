"""The settings of `atlas select` that every selector needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from atlas.config import BY_CONTENT, SPEED_ONLY
from atlas.kinds import Choice
from atlas.selection.budget import Rounding, step_budget
from atlas.selection.selectors.base import SELECTOR, Scorer, Selector, SelectorContext
from atlas.workers.ray_workers import WorkersConfig

Scope = Literal["trajectory", "dataset"]


class SelectConfig(WorkersConfig):
    """Which selector is used, and with which budget."""

    selector: Annotated[Choice, SELECTOR] = Field(
        default=Choice("annotated"),
        description="a selector listed below, or your own as package.module:Class",
    )
    ratio: float = Field(
        default=0.3, gt=0, le=1, description="the share of steps that may be selected"
    )
    rounding: Rounding = Field(
        default="floor", description="how ratio * steps is rounded to a whole number"
    )
    min_steps: int = Field(
        default=1,
        ge=0,
        description="minimum number of steps in the budget of a trajectory, even if ratio "
        "gives less; ignored with scope=dataset",
    )
    scope: Scope = Field(
        default="trajectory",
        description="trajectory: ratio applies to each trajectory; dataset: ratio applies "
        "to the steps of all trajectories together (only for selectors with "
        "scores)",
    )
    seed: int = Field(default=0, description="seed of the selectors that draw at random")
    limit: int | None = Field(
        default=None,
        ge=1,
        description="select from the first trajectories only, at most this many",
    )
    accept_unanswered: Annotated[bool, SPEED_ONLY] = Field(
        default=False,
        description="finish even if some trajectories got no answer; each of them is "
        "recorded as a problem",
    )
    pilot_size: Annotated[int, SPEED_ONLY] = Field(
        default=20, ge=1, description="number of trajectories that --pilot asks about"
    )
    retry_problems_of: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="an earlier run of the same selector: keep its selections, and ask "
        "again only about its problems",
    )

    def budget(self, num_steps: int) -> int:
        """The budget of a trajectory with `num_steps` steps."""
        return step_budget(num_steps, self.ratio, self.rounding, self.min_steps)


def make_selector(config: SelectConfig, trajectories: Path) -> Selector | Scorer:
    """The selector of `config`, made for the run folder `trajectories`."""
    earlier = config.retry_problems_of
    context = SelectorContext(
        config.selector.name, config.seed, trajectories, None if earlier is None else Path(earlier)
    )
    made: Selector | Scorer = SELECTOR.make(config.selector, context)
    return made
