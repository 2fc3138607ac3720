"""The steps at which a local model is the least certain what to say (CARL, arXiv 2512.04949; forking tokens, arXiv 2506.01939).

The score is the mean, over a step's own tokens, of the entropy of the model's next-token distribution: it depends on what the
model might have said there, where perplexity depends on what was said.
"""

from __future__ import annotations

from atlas.records import Problem, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, Scores
from atlas.selection.selectors.likelihood import Reader


class EntropySelector:
    """Scores steps by the mean entropy of `model` over their tokens, highest first."""

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._config = config
        self._reader = Reader((config.model,), config.precision)

    def models(self) -> dict[str, str]:
        return {"model": self._config.model}

    def score(self, trajectory: Trajectory) -> Scores | Problem:
        read = self._reader.read(trajectory)
        return read if isinstance(read, Problem) else [tokens.mean_entropy for tokens in read[0]]
