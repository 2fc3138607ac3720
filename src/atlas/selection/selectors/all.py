"""Every step: plain behavior cloning of whole trajectories, the paper's 100 % arm."""

from __future__ import annotations

from atlas.kinds import NoConfig
from atlas.records import Selection, Trajectory
from atlas.selection.selectors.base import SelectorBase


class AllSelector(SelectorBase[NoConfig]):
    """Every step; ignores the ratio."""

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        num_steps = len(trajectory.steps)
        return self.selection_of(trajectory, num_steps, range(num_steps))
