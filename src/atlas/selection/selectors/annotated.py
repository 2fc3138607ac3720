"""The steps that the source itself calls critical: an expert that knows what it did, or a person's labels."""

from __future__ import annotations

from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, selection_of


class AnnotatedSelector:
    """Takes the steps that their source marked, the highest score first, the earlier of equals."""

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._name = config.selector

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        annotations = [(index, step.annotation) for index, step in enumerate(trajectory.steps) if step.annotation is not None]
        if trajectory.steps and not annotations:
            return selection_of(trajectory, self._name, budget, problem="no step is annotated; choose another selector for this source")
        critical = [CriticalStep(index=index, kinds=note.kinds, score=note.score) for index, note in annotations if note.is_marked]
        best = sorted(critical, key=lambda step: (-(step.score or 0.0), step.index))[:budget]
        return selection_of(trajectory, self._name, budget, best)
