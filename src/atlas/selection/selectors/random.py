"""Selects random steps: the control that other selectors should beat at the same budget."""

from __future__ import annotations

from atlas.kinds import NoConfig
from atlas.records import Selection, Trajectory
from atlas.selection.selectors.base import SelectorBase, draw_steps


class RandomSelector(SelectorBase[NoConfig]):
    """Steps drawn at random."""

    @classmethod
    def draws(cls, config: NoConfig) -> bool:
        return True

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        candidates = range(len(trajectory.steps))
        drawn = draw_steps(candidates, budget, self.context.seed, trajectory.id)
        return self.selection_of(trajectory, budget, drawn)
