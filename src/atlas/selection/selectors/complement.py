"""Random steps that another selection did not choose: the paper's "non-critical 30 %" control."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from atlas.config import BY_CONTENT, Config
from atlas.records import Selection, Trajectory
from atlas.selection.other_selection import NAMES_SELECTIONS, OtherSelection
from atlas.selection.selectors.base import SelectorBase, SelectorContext, draw_steps
from atlas.store.run_folders import Input


class ComplementConfig(Config):
    """Settings of `complement`."""

    of: Annotated[str, BY_CONTENT, NAMES_SELECTIONS] = Field(
        min_length=1,
        description="a selection run; steps are drawn from those that it did not select",
    )


class ComplementSelector(SelectorBase[ComplementConfig]):
    """Random steps that another selection did not choose, as many as its budget allows."""

    Config = ComplementConfig

    def __init__(self, config: ComplementConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        self._other = OtherSelection(config.of, context.trajectories)

    @classmethod
    def draws(cls, config: ComplementConfig) -> bool:
        return True

    @property
    def sentence(self) -> str:
        other = self._other.selector
        return f"steps drawn at random from those outside the selection of '{other}'"

    def inputs(self, out: Path) -> dict[str, Input]:
        return {"of": self._other.input(out)}

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        other = self._other.find(trajectory)
        if other.problem is not None:
            # Both selections must cover the same trajectories, so that they can be compared.
            problem = f"the other selection has a problem: {other.problem}"
            return self.selection_of(trajectory, other.budget, problem=problem)
        rest = [index for index in range(len(trajectory.steps)) if index not in other.indices]
        drawn = draw_steps(rest, other.budget, self.context.seed, trajectory.id)
        return self.selection_of(trajectory, other.budget, drawn)
