"""Random steps: the control that any other selector has to beat at the same budget."""

from __future__ import annotations

from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, draw_steps, selection_of


class RandomSelector:
    """Draws the budget's number of steps, each trajectory by a seed of its own."""

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._name = config.selector
        self._seed = config.seed

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        drawn = draw_steps(range(len(trajectory.steps)), budget, self._seed, trajectory.id)
        return selection_of(
            trajectory, self._name, budget, (CriticalStep(index=index) for index in drawn)
        )
