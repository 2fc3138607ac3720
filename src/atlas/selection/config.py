"""The settings of `atlas select` that every selector needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.kinds import Choice
from atlas.selection.budget import Rounding, step_budget
from atlas.selection.selectors.base import SELECTOR, Scorer, Selector, SelectorContext

Scope = Literal["trajectory", "dataset"]


class SelectConfig(Config):
    """Which selector, under which budget."""

    selector: Annotated[Choice, SELECTOR] = Field(
        Choice("annotated"),
        description="a row of SELECTORS or package.module:Class, its settings beside its name",
    )
    ratio: float = Field(
        0.3, gt=0, le=1, description="the share of a trajectory's steps that may be selected"
    )
    rounding: Rounding = Field("floor", description="how ratio * steps becomes whole")
    min_steps: int = Field(
        1,
        ge=0,
        description="the least budget of a trajectory with that many steps; not under scope "
        "dataset",
    )
    scope: Scope = Field(
        "trajectory",
        description="whose steps the ratio is of: each trajectory's, or dataset: all (selectors "
        "with scores)",
    )
    seed: int = Field(0, description="drives the selectors that draw")
    accept_unanswered: Annotated[bool, SPEED_ONLY] = Field(
        False, description="finish though some trajectories got no answer; each becomes a problem"
    )
    retry_problems_of: Annotated[str | None, BY_CONTENT] = Field(
        None,
        description="an earlier run of this selector: keep its selections, ask only about its "
        "problems",
    )

    def budget(self, num_steps: int) -> int:
        """How many steps of a trajectory with `num_steps` steps may be selected."""
        return step_budget(num_steps, self.ratio, self.rounding, self.min_steps)


def make_selector(config: SelectConfig, trajectories: Path) -> Selector | Scorer:
    """The selector of `config`, made for the run folder `trajectories`."""
    earlier = config.retry_problems_of
    context = SelectorContext(
        config.selector.name, config.seed, trajectories, None if earlier is None else Path(earlier)
    )
    made: Selector | Scorer = SELECTOR.make(config.selector, context)
    return made
