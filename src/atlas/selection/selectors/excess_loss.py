"""The steps that a model has yet to learn and a better one knows: loss(model) - loss(reference), after Rho-1 (arXiv 2404.07965).

What is hard for both (noise) and easy for both scores low. Rho-1 chooses tokens; here the mean over a step's tokens chooses steps.
"""

from __future__ import annotations

from atlas.records import Problem, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, Scores
from atlas.selection.selectors.likelihood import Reader


class ExcessLossSelector:
    """Scores steps by how much higher their mean loss is under `model` than under `reference_model`."""

    def __init__(self, config: SelectConfig, others: Others) -> None:
        assert config.reference_model is not None, "the config asks for it"
        self._models = {"model": config.model, "reference_model": config.reference_model}
        self._reader = Reader(tuple(self._models.values()), config.precision)

    def models(self) -> dict[str, str]:
        return self._models

    def score(self, trajectory: Trajectory) -> Scores | Problem:
        read = self._reader.read(trajectory)
        if isinstance(read, Problem):
            return read
        losses = ((own.mean_loss, reference.mean_loss) for own, reference in zip(*read, strict=True))
        return [None if own is None or reference is None else own - reference for own, reference in losses]
