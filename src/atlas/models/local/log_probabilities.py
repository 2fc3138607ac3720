"""Log-probabilities and entropies of given responses, from a model on this machine.

Each trajectory takes one forward pass. Logits are computed only at positions that predict a token
of a step.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.errors import DataError
from atlas.models.local.load import load_model, load_renderer, locate_model
from atlas.models.local.precision import Precision, dtype_name
from atlas.models.local.step_tokens import (
    Measured,
    ScoringPrompt,
    StepTokens,
    count_unwritten_steps,
    scoring_prompts,
    tokens_by_step,
)
from atlas.records import Trajectory
from atlas.rendering.count_unwritten import UnwrittenCount
from atlas.rendering.measured_tokens import MeasuredTokens
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample

# Number of positions whose logits over the whole vocabulary are in memory at a time, in float32.
ROWS = 256


class LocalScorer:
    """Scores trajectories, written by `renderer`, with a Hugging Face causal LM called `name`."""

    def __init__(self, model: Any, renderer: Renderer, name: str) -> None:
        self.model = model
        self.renderer = renderer
        self.name = name
        self.max_tokens: int | None = getattr(model.config, "max_position_embeddings", None)
        self.unwritten = UnwrittenCount()

    def read(self, trajectory: Trajectory, is_counted: bool = True) -> list[StepTokens]:
        """The tokens of each step, one entry a step.

        Args:
            is_counted: whether what the template leaves out is counted in `unwritten`.

        Raises:
            DataError: the template refuses the trajectory, or it is too long for the model.
        """
        prompts = scoring_prompts(trajectory, self.renderer, self.max_tokens, self.name)
        if is_counted:
            self.unwritten += count_unwritten_steps(prompts, self.renderer, trajectory)
        measured = ((prompt, self._measure(prompt)) for prompt in prompts)
        return tokens_by_step(len(trajectory.steps), measured)

    def measure(self, example: TokenizedExample, positions: NDArray[np.integer]) -> MeasuredTokens:
        """The loss of the tokens at these positions, none of which is the first.

        Raises:
            DataError: the example is too long for the model.
        """
        prompt = ScoringPrompt(example, example.token_ids, np.asarray(positions, np.int64))
        log_probs, _ = self._measure(self.shortened(prompt))
        return MeasuredTokens(-log_probs)

    def shortened(self, prompt: ScoringPrompt) -> ScoringPrompt:
        """The prompt up to its last owned position.

        Raises:
            DataError: it is too long for the model.
        """
        end = int(prompt.owned.max(initial=-1)) + 1
        if self.max_tokens is not None and end > self.max_tokens:
            raise DataError(
                f"its {end} tokens exceed the {self.max_tokens} that {self.name} reads. Give "
                f"max_tokens={self.max_tokens}, or a model that reads more."
            )
        return replace(prompt, token_ids=prompt.token_ids[:end])

    @torch.no_grad()
    def predict(self, prompt: ScoringPrompt) -> tuple[Tensor, Tensor]:
        """The logits at the owned positions, shape [N, V], and the tokens there, shape [N]."""
        device = self.model.device
        ids = torch.from_numpy(prompt.token_ids).long().to(device)
        positions = torch.from_numpy(prompt.owned).to(device)
        # Position t predicts token t + 1.
        output = self.model(input_ids=ids[None], logits_to_keep=positions - 1, use_cache=False)
        return output.logits[0], ids[positions]

    @torch.inference_mode()
    def _measure(self, prompt: ScoringPrompt) -> Measured:
        if not len(prompt.owned):
            return np.zeros(0), np.zeros(0)
        logits, targets = self.predict(prompt)
        log_probs, entropies = [], []
        for rows, wanted in zip(torch.split(logits, ROWS), torch.split(targets, ROWS), strict=True):
            of_all = torch.log_softmax(rows.float(), dim=-1)
            log_probs.append(of_all.gather(1, wanted[:, None])[:, 0])
            entropies.append(torch.special.entr(of_all.exp()).sum(dim=-1))
        found, of_tokens = (torch.cat(each).double().cpu() for each in (log_probs, entropies))
        return found.numpy(), of_tokens.numpy()


def load_scorer(
    name: str,
    precision: Precision = "auto",
    chat_template: str | None = None,
    day: date | None = None,
) -> LocalScorer:
    """The scorer of a hub id, a model folder or a training run.

    Args:
        day: the date that a chat template writes as today's; None: today.

    Raises:
        ModelError: the model cannot be loaded, or has no usable chat template.
    """
    place = locate_model(name)
    renderer = load_renderer(place, chat_template, day)
    return LocalScorer(load_model(place, dtype_name(precision)), renderer, name)
