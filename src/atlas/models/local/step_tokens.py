"""Log-probability and entropy of each token of a step.

A step is measured over the tokens of its response, including the end of turn, with the whole
history as context. The renderer determines which step owns a token; a scorer measures the given
positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError, ModelError
from atlas.records import Trajectory
from atlas.rendering.count_unwritten import UnwrittenCount, count_unwritten
from atlas.rendering.loss_mask import count_run, loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample

# Log-probabilities and entropies at the owned positions of a prompt, in nats.
Measured = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class StepTokens:
    """One step's response: `log_probs` and `entropies` in nats, each [tokens of the step]."""

    log_probs: NDArray[np.float64]
    entropies: NDArray[np.float64]

    @property
    def mean_loss(self) -> float | None:
        """The mean negative log-likelihood (log-perplexity); None for a step without tokens."""
        return -float(self.log_probs.mean()) if len(self.log_probs) else None

    @property
    def mean_entropy(self) -> float | None:
        return float(self.entropies.mean()) if len(self.entropies) else None


@dataclass(frozen=True, slots=True)
class ScoringPrompt:
    """`token_ids` [T], up to the last token of a step; `owned`: positions of steps' tokens."""

    example: TokenizedExample
    token_ids: NDArray[np.int32]
    owned: NDArray[np.int64]


def scoring_prompts(
    trajectory: Trajectory, renderer: Renderer, max_tokens: int | None, name: str
) -> list[ScoringPrompt]:
    """The prompts to score a trajectory: one, or one per step if the template rewrites history.

    Raises:
        DataError: the template refuses the trajectory, or it exceeds model `name`'s `max_tokens`.
    """
    # A template may refuse one conversation and accept others.
    try:
        examples = renderer.tokenize_trajectory(trajectory)
    except ModelError as error:
        raise DataError(str(error)) from error
    longest = max((len(example.token_ids) for example in examples), default=0)
    if max_tokens is not None and longest > max_tokens:
        raise DataError(f"its {longest} tokens exceed the {max_tokens} that {name} reads")
    prompts = []
    for example in examples:
        mask = loss_mask(example, example.steps)
        if end := count_run(mask):
            prompts.append(ScoringPrompt(example, example.token_ids[:end], np.flatnonzero(mask)))
    return prompts


def count_unwritten_steps(
    prompts: Sequence[ScoringPrompt], renderer: Renderer, trajectory: Trajectory
) -> UnwrittenCount:
    """What the chat template does not write of a trajectory that is scored."""
    examples = [prompt.example for prompt in prompts]
    return count_unwritten(examples, renderer, range(len(trajectory.steps)))


def tokens_by_step(
    num_steps: int, measured: Iterable[tuple[ScoringPrompt, Measured]]
) -> list[StepTokens]:
    """The measured tokens, one entry per step."""
    found = [StepTokens(np.zeros(0), np.zeros(0)) for _ in range(num_steps)]
    for prompt, (log_probs, entropies) in measured:
        owners = prompt.example.step_of_token[prompt.owned]
        for step in prompt.example.steps:
            found[step] = StepTokens(log_probs[owners == step], entropies[owners == step])
    return found
