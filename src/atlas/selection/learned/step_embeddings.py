"""The embeddings of a step: of its response, and of the observations before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atlas.records import Trajectory
from atlas.selection.text_features import join_texts, message_text

Floats = NDArray[np.float64]


class Embeds(Protocol):
    """A model that embeds texts, such as models/local/embeddings.py loads."""

    def embed(self, texts: Sequence[str]) -> Floats: ...


def step_embeddings(trajectory: Trajectory, embedder: Embeds) -> Floats:
    """[S, 3 * size]. Each text is embedded once."""
    responses = [message_text(step.response) for step in trajectory.steps]
    observations = [join_texts(step.observation) for step in trajectory.steps]
    vectors = embedder.embed([*responses, *observations, join_texts(trajectory.final_observation)])
    count = len(responses)
    return np.concatenate(
        [vectors[:count], vectors[count : 2 * count], vectors[count + 1 :]], axis=1
    )
