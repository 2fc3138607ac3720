"""Selects steps that are similar to the goal and different from each other.

Weasel (arXiv 2605.20291) combines goal relevance and pairwise diversity of embeddings. Here steps
are chosen greedily by maximal marginal relevance (Carbonell and Goldstein 1998). Without an
`embedding_model`, the vectors are TF-IDF of words, fitted on each trajectory separately, so words
that occur in all steps have little weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from atlas.config import BY_CONTENT, Config
from atlas.models.local.load import model_input
from atlas.models.local.precision import Precision
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.selection.selectors.base import PRECISIONS, SelectorBase, SelectorContext
from atlas.selection.text_features import feature_extraction, join_texts
from atlas.store.run_folders import Input

if TYPE_CHECKING:
    from atlas.models.local.embeddings import Embedder

# The weight of similarity to the goal, relative to similarity to steps already taken.
RELEVANCE = 0.5
# Similarities that differ by less are equal, so that rounding errors do not decide.
DIGITS = 9

Floats = NDArray[np.float64]


class DiversityConfig(Config):
    """Settings of `diversity`: how steps are compared."""

    embedding_model: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="a hub id, a model folder, or a run folder of train; steps are compared"
        " by the mean hidden states of this model; if none, by TF-IDF",
    )
    precision: Precision = Field(
        default="auto", description=f"precision of the embedding model: {PRECISIONS}"
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("select",) if self.embedding_model is None else ("train",)


class DiversitySelector(SelectorBase[DiversityConfig]):
    """Steps that are similar to the goal and different from each other, chosen one after another.

    Of equals the earlier step is taken.
    """

    Config = DiversityConfig

    def __init__(self, config: DiversityConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        self._model = config.embedding_model
        self._embedder: Embedder | None = None
        self._text = feature_extraction().text if self._model is None else None

    @property
    def sentence(self) -> str:
        by = "without a model" if self._model is None else f"by embeddings of {self._model}"
        return f"the steps that are like the goal and unlike each other, {by}"

    def inputs(self, out: Path) -> dict[str, Input]:
        if self._model is None:
            return {}
        return {"embedding_model": model_input(self._model, out)}

    def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """Select `budget` steps, each scored by its marginal relevance when it was taken."""
        if not trajectory.steps or budget == 0:
            return self.selection_of(trajectory, budget)
        vectors = self._vectors([_goal(trajectory), *_step_texts(trajectory)])
        goal, own = vectors[0], vectors[1:]
        taken = _take(own @ goal, own @ own.T, budget)
        steps = (CriticalStep(index=index, score=score) for index, score in taken)
        return self.selection_of(trajectory, budget, steps)

    def _vectors(self, texts: list[str]) -> Floats:
        """Vectors of goal and steps, [1 + S, size], of length 1 (0 for a text without words)."""
        if self._model is not None:
            if self._embedder is None:
                from atlas.models.local.embeddings import load_embedder

                self._embedder = load_embedder(self._model, self.config.precision)
            return self._embedder.embed(texts)
        if not any(re.search(r"\w", text) for text in texts):
            return np.zeros((len(texts), 1))
        assert self._text is not None
        words = self._text.TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
        vectors: Floats = words.fit_transform(texts).toarray()
        return vectors


def _take(relevance: Floats, likeness: Floats, budget: int) -> list[tuple[int, float]]:
    """Up to `budget` steps in the order of choice, each with its marginal relevance.

    Args:
        relevance: [S], similarity of each step to the goal.
        likeness: [S, S], similarity of each pair of steps.
    """
    closest = np.zeros(len(relevance))
    free = list(range(len(relevance)))
    taken: list[tuple[int, float]] = []
    while free and len(taken) < budget:
        marginal = np.round(RELEVANCE * relevance - (1 - RELEVANCE) * closest, DIGITS)
        best = max(free, key=lambda index: (marginal[index], -index))
        taken.append((best, float(marginal[best])))
        free.remove(best)
        closest = np.maximum(closest, likeness[best])
    return taken


def _goal(trajectory: Trajectory) -> str:
    """The goal in the task if there is one, otherwise the first user message."""
    if trajectory.task.goal:
        return trajectory.task.goal
    first = [*trajectory.prompt, *trajectory.steps[0].observation]
    return join_texts([message for message in first if message.role == "user"] or first)


def _step_texts(trajectory: Trajectory) -> Iterator[str]:
    """Text of each step. The first observation is left out: in most data it is the task."""
    # The response comes first, because an embedding model cuts off the end of a long text.
    for index, step in enumerate(trajectory.steps):
        yield join_texts([step.response] if index == 0 else [step.response, *step.observation])
