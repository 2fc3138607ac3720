"""The steps that a local model finds the most (or the least) surprising: the paper's "highest-perplexity 30 %" control.

The score is the mean negative log-likelihood of a step's own tokens under the model, the whole history before them.
"""

from __future__ import annotations

from statistics import median

from atlas.records import Problem, Trajectory
from atlas.selection.config import Band, SelectConfig
from atlas.selection.selectors.base import Others, Scores
from atlas.selection.selectors.likelihood import Reader


class PerplexitySelector:
    """Scores steps by their perplexity under `model`, in the order that `band` says."""

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._config = config
        self._reader = Reader((config.model,), config.precision)

    def models(self) -> dict[str, str]:
        return {"model": self._config.model}

    def score(self, trajectory: Trajectory) -> Scores | Problem:
        read = self._reader.read(trajectory)
        return read if isinstance(read, Problem) else rank_in_band([tokens.mean_loss for tokens in read[0]], self._config.band)


def rank_in_band(losses: Scores, band: Band) -> list[float | None]:
    """Losses as scores: themselves, their opposite, or the opposite of their distance from the median of the trajectory.

    >>> rank_in_band([1.0, None, 4.0, 9.0], "mid")
    [-3.0, None, 0.0, -5.0]
    """
    middle = median([loss for loss in losses if loss is not None] or [0.0])

    def rank(loss: float) -> float:
        return {"high": loss, "low": -loss, "mid": -abs(loss - middle)}[band]

    return [None if loss is None else rank(loss) for loss in losses]
