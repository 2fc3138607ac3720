"""Selects steps that a model finds more likely once it knows how the episode ended.

    score of step t = mean over its tokens of
                      log p(token | history, outcome) - log p(token | history)

This is the logarithm of HCAPO's hindsight ratio (arXiv 2603.08754) at temperature 1: the same model
reads the trajectory with and without the outcome in its context. HISR (arXiv 2603.18683) takes the
same ratio, but trains a hindsight model that reads the rest of the trajectory. Both smooth the
ratio by a temperature, and HCAPO clips it; neither changes which steps come first, so neither is
done here. Their further parts (returns, segments, advantages) belong to reinforcement learning.
What is said here of both papers is from their abstracts and from notes of readers that quote the
formulas; their full text was not at hand. The words that give the outcome, and their place, are a
choice of this project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.errors import DataError
from atlas.records import Trajectory
from atlas.selection.likelihood import LikelihoodConfig, LikelihoodSelector
from atlas.selection.outcome_text import OutcomeTextConfig, outcome_text, with_outcome
from atlas.selection.selectors.base import Scores

if TYPE_CHECKING:
    from atlas.models.local.step_tokens import StepTokens


class HindsightConfig(OutcomeTextConfig, LikelihoodConfig):
    """Settings of `hindsight`: the model, and how it is given the outcome."""


class HindsightSelector(LikelihoodSelector[HindsightConfig]):
    """The steps that become more likely under a model once it knows the outcome.

    In a trajectory that failed, these are the steps that led to the failure.
    """

    Config = HindsightConfig

    @property
    def sentence(self) -> str:
        return f"the steps that {self.config.model} finds more likely once it knows the outcome"

    def texts(self, trajectory: Trajectory) -> list[Trajectory]:
        """The trajectory as it is, and with the outcome before its first response."""
        return [trajectory, with_outcome(trajectory, outcome_text(trajectory, self.config))]

    def rate(self, *read: list[StepTokens]) -> Scores:
        before, after = read
        return [
            likelihood_gain(one, other, index)
            for index, (one, other) in enumerate(zip(before, after, strict=True))
        ]


def likelihood_gain(before: StepTokens, after: StepTokens, index: int) -> float | None:
    """By how much the mean log-likelihood of a step's tokens grows; None without tokens.

    Raises:
        DataError: the chat template writes the step in other tokens once the outcome is there, or
            a log-probability is not a finite number.
    """
    if len(before.log_probs) != len(after.log_probs):
        raise DataError(
            f"step {index} has {len(before.log_probs)} tokens, and {len(after.log_probs)} with the "
            "outcome in the context, so its two likelihoods cannot be compared"
        )
    for log_probs in (before.log_probs, after.log_probs):
        if not np.isfinite(log_probs).all():
            bad = log_probs[~np.isfinite(log_probs)][0]
            raise DataError(
                f"a token of step {index} has the log-probability {bad}, expected a finite number"
            )
    gains = after.log_probs - before.log_probs
    return float(gains.mean()) if len(gains) else None
