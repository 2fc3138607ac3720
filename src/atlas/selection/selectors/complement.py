"""Random steps among those that another selection left: the paper's "non-critical 30 %" control."""

from __future__ import annotations

from atlas.errors import RunError
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, draw_steps, selection_of


class ComplementSelector:
    """Draws from the steps not in the other selection, under that selection's budget; takes what there is if they are fewer."""

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._name = config.selector
        self._seed = config.seed
        self._others = others

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        other = next(iter(self._others.get(trajectory.id, ())), None)
        if other is None:
            raise RunError(
                f"the other selection has none for trajectory '{trajectory.id}'. Give of=… a selection from these trajectories."
            )
        if other.problem is not None:  # a comparison of the two must be of the same trajectories
            return selection_of(
                trajectory,
                self._name,
                other.budget,
                problem=f"the other selection has a problem: {other.problem}",
            )
        rest = [index for index in range(len(trajectory.steps)) if index not in other.indices]
        drawn = draw_steps(rest, other.budget, self._seed, trajectory.id)
        return selection_of(
            trajectory, self._name, other.budget, (CriticalStep(index=index) for index in drawn)
        )
