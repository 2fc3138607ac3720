"""What the selectors that read trajectories with a local model share: the model comes at the first trajectory, a refusal is a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.errors import DataError, ModelError
from atlas.models.local import Precision
from atlas.records import Problem, Trajectory

if TYPE_CHECKING:
    from atlas.models.log_probabilities import LocalScorer, StepTokens


class Reader:
    """Reads with one model; or with two that share a vocabulary, the second reading what the first one's template wrote."""

    def __init__(self, models: tuple[str, ...], precision: Precision) -> None:
        self._models = models
        self._precision: Precision = precision
        self._scorers: list[LocalScorer] = []

    def read(self, trajectory: Trajectory) -> list[list[StepTokens]] | Problem:
        """For each model the tokens of each step, or why there are none.

        Raises:
            ModelError: a model cannot be loaded, or the two have different vocabularies.
        """
        if not self._scorers:
            self._scorers = _load(self._models, self._precision)
        try:
            return [scorer.read(trajectory) for scorer in self._scorers]
        except DataError as error:
            return Problem(where=f"trajectory {trajectory.id}", reason=str(error), item=trajectory.id)


def _load(models: tuple[str, ...], precision: Precision) -> list[LocalScorer]:
    from atlas.models.log_probabilities import LocalScorer, load_scorer

    first, *others = [load_scorer(model, precision) for model in models]
    for other in others:
        if other.renderer.tokenizer.get_vocab() != first.renderer.tokenizer.get_vocab():
            raise ModelError(
                f"{other.name} and {first.name} have different vocabularies, so their losses are not of the same tokens. "
                "Give two models of one family."
            )
    return [first, *(LocalScorer(other.model, first.renderer, other.name) for other in others)]
