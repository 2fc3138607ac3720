"""What a model thinks of given responses, whoever runs it: the log-probability and the entropy of every token that a step owns.

A step is measured over its own tokens alone, the end of turn included, with the whole history before them as context. Who
owns a token is the renderer's to say; a scorer only measures the tokens at given positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError, ModelError
from atlas.records import Trajectory
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample

Measured = tuple[
    NDArray[np.float64], NDArray[np.float64]
]  # log-probabilities and entropies of the asked positions, in nats


@dataclass(frozen=True, slots=True)
class StepTokens:
    """The tokens of one step's response: `log_probs` and `entropies` in nats, each of shape [tokens of the step], float64."""

    log_probs: NDArray[np.float64]
    entropies: NDArray[np.float64]

    @property
    def mean_loss(self) -> float | None:
        """The mean negative log-likelihood, the logarithm of the perplexity; None for a step without a token."""
        return -float(self.log_probs.mean()) if len(self.log_probs) else None

    @property
    def mean_entropy(self) -> float | None:
        return float(self.entropies.mean()) if len(self.entropies) else None


@dataclass(frozen=True, slots=True)
class Question:
    """The tokens `token_ids` [T] up to the last one that a step owns, and the positions `owned` of those, in order."""

    example: TokenizedExample
    token_ids: NDArray[np.int32]
    owned: NDArray[np.int64]


def questions_about(
    trajectory: Trajectory, renderer: Renderer, max_tokens: int | None, name: str
) -> list[Question]:
    """What has to be measured of a trajectory: one question, or one a step where the template rewrites history.

    Raises:
        DataError: the template refuses the trajectory, or it is longer than the `max_tokens` that model `name` reads.
    """
    try:
        examples = renderer.tokenize_trajectory(trajectory)
    except ModelError as error:  # a template may refuse one conversation and take the others
        raise DataError(str(error)) from error
    longest = max((len(example.token_ids) for example in examples), default=0)
    if max_tokens is not None and longest > max_tokens:
        raise DataError(f"its {longest} tokens exceed the {max_tokens} that {name} reads")
    questions = []
    for example in examples:
        owned = np.flatnonzero(loss_mask(example, example.steps))
        if len(owned):
            questions.append(Question(example, example.token_ids[: owned[-1] + 1], owned))
    return questions


def tokens_by_step(
    num_steps: int, answers: Iterable[tuple[Question, Measured]]
) -> list[StepTokens]:
    """The measured tokens of each step, one entry a step."""
    found = [StepTokens(np.zeros(0), np.zeros(0)) for _ in range(num_steps)]
    for question, (log_probs, entropies) in answers:
        owners = question.example.step_of_token[question.owned]
        for step in question.example.steps:
            found[step] = StepTokens(log_probs[owners == step], entropies[owners == step])
    return found
