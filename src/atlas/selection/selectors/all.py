"""Every step: plain behaviour cloning of whole trajectories, the paper's 100 % arm."""

from __future__ import annotations

from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, selection_of


class AllSelector:
    """Selects every step. Its budget is the number of steps, whatever the ratio is."""

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._name = config.selector

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        num_steps = len(trajectory.steps)
        return selection_of(
            trajectory,
            self._name,
            num_steps,
            (CriticalStep(index=index) for index in range(num_steps)),
        )
