"""Random steps: the control that any other selector has to beat at the same budget."""

from __future__ import annotations

from atlas.kinds import NoConfig
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.selectors.base import SelectorContext, draw_steps, selection_of


class RandomSelector:
    """Random steps, drawn for each trajectory by the seed and its id."""

    sentence = "steps drawn at random"

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        self._name = context.name
        self._seed = context.seed

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        drawn = draw_steps(range(len(trajectory.steps)), budget, self._seed, trajectory.id)
        return selection_of(
            trajectory, self._name, budget, (CriticalStep(index=index) for index in drawn)
        )
