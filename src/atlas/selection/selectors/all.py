"""Every step: plain behavior cloning of whole trajectories, the paper's 100 % arm."""

from __future__ import annotations

from atlas.kinds import NoConfig
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.selectors.base import SelectorContext, selection_of


class AllSelector:
    """Every step. Its budget is the number of steps, whatever the ratio is."""

    sentence = "every step, nothing was selected"

    def __init__(self, config: NoConfig, context: SelectorContext) -> None:
        self._name = context.name

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        steps = tuple(CriticalStep(index=index) for index in range(len(trajectory.steps)))
        return selection_of(trajectory, self._name, len(steps), steps)
