"""What a frozen encoder makes of a step: `trajectory -> [steps, 3 * size]`.

One vector of its response, one of what was seen before it, one of what was seen after it. The
vectors of most models share a large part that carries no information, and are small in every
direction that does. So they are taken from their mean over the steps that are trained on, and
brought to the mean length 1 that the words have too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atlas.records import Record, Trajectory
from atlas.selection.learned.step_features import message_text

Floats = NDArray[np.float64]


class Embeds(Protocol):
    """A model in memory (models/embeddings.py)."""

    def embed(self, texts: Sequence[str]) -> Floats: ...


class EncoderPart(Record):
    """The part of a learned selector that reads embeddings.

    Their share of the score is `(embedding - center) / scale @ weights`.

    Attributes:
        name: a hub id, or a folder as seen from the run folder.
        digest: of the folder's files.
    """

    name: str
    digest: str | None
    center: tuple[float, ...]
    scale: float
    weights: tuple[float, ...]

    def score(self, embeddings: Floats) -> list[float]:
        """A share of the score for each step, the same on every machine."""
        rows = (embeddings - np.array(self.center)) / self.scale
        return [math.fsum(row) for row in rows * np.array(self.weights)]


def step_embeddings(trajectory: Trajectory, embedder: Embeds) -> Floats:
    """[S, 3 * size], each text embedded once."""
    responses = [message_text(step.response) for step in trajectory.steps]
    seen = ["\n".join(map(message_text, step.observation)) for step in trajectory.steps]
    seen.append("\n".join(map(message_text, trajectory.final_observation)))
    vectors = embedder.embed([*responses, *seen])
    count = len(responses)
    return np.concatenate(
        [vectors[:count], vectors[count : 2 * count], vectors[count + 1 :]], axis=1
    )


def center_and_scale(embeddings: Floats) -> tuple[Floats, float]:
    """The mean row, and the root mean square distance from it (1 where all rows are equal)."""
    center: Floats = embeddings.mean(axis=0)
    scale = math.sqrt(float(((embeddings - center) ** 2).sum(axis=1).mean()))
    return center, scale if scale > 1e-9 else 1.0
