"""What a local model thinks of given responses: the log-probability and the entropy of every token that a step owns.

One forward pass a trajectory, through the renderer's token ownership: a step is measured over its own tokens alone, the
end of turn included, with the whole history before them as context. Logits are computed where such a token is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.errors import DataError, ModelError
from atlas.models.local import Precision, load_model, load_renderer, locate_model, resolve_precision
from atlas.records import Trajectory
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer

ROWS = 256  # positions at a time in float32 over the whole vocabulary


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


class LocalScorer:
    """A Hugging Face causal LM, called `name` in messages, that reads trajectories written by `renderer`."""

    def __init__(self, model: Any, renderer: Renderer, name: str) -> None:
        self.model = model
        self.renderer = renderer
        self.name = name
        self.max_tokens: int | None = getattr(model.config, "max_position_embeddings", None)

    def read(self, trajectory: Trajectory) -> list[StepTokens]:
        """The tokens of each step, one entry a step.

        Raises:
            DataError: the trajectory cannot be read by this model: its template refuses it, or it is too long.
        """
        try:
            examples = self.renderer.tokenize_trajectory(trajectory)
        except ModelError as error:  # a template may refuse one conversation and take the others
            raise DataError(str(error)) from error
        longest = max((len(example.token_ids) for example in examples), default=0)
        if self.max_tokens is not None and longest > self.max_tokens:
            raise DataError(f"its {longest} tokens exceed the {self.max_tokens} that {self.name} reads")
        read = [StepTokens(np.zeros(0), np.zeros(0)) for _ in trajectory.steps]
        for example in examples:
            owned = np.flatnonzero(loss_mask(example, example.steps))
            log_probs, entropies = self._measure(example.token_ids, owned)
            owners = example.step_of_token[owned]
            for step in example.steps:
                read[step] = StepTokens(log_probs[owners == step], entropies[owners == step])
        return read

    @torch.inference_mode()
    def _measure(self, token_ids: NDArray[np.int32], owned: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-probability and entropy of the tokens at the positions `owned`, each given all tokens before it."""
        if not len(owned):
            return np.zeros(0), np.zeros(0)
        device = self.model.device
        ids = torch.from_numpy(token_ids[: owned[-1] + 1]).long().to(device)
        places = torch.from_numpy(owned).to(device)
        logits = self.model(input_ids=ids[None], logits_to_keep=places - 1, use_cache=False).logits[0]  # position t predicts token t + 1
        blocks = zip(torch.split(logits, ROWS), torch.split(ids[places], ROWS), strict=True)
        parts = [_log_probs_and_entropies(*block) for block in blocks]
        log_probs, entropies = (torch.cat(part).double().cpu().numpy() for part in zip(*parts, strict=True))
        return log_probs, entropies


def load_scorer(name: str, precision: Precision = "auto") -> LocalScorer:
    """The scorer of a hub id, a model folder or a training run.

    Raises:
        ModelError: the model cannot be loaded or has no usable chat template.
    """
    place = locate_model(name)
    renderer = load_renderer(place)
    return LocalScorer(load_model(place, "bfloat16" if resolve_precision(precision) == "bf16" else "float32"), renderer, name)


def _log_probs_and_entropies(logits: torch.Tensor, targets: torch.Tensor) -> Iterator[torch.Tensor]:
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    yield log_probs.gather(1, targets[:, None])[:, 0]
    yield torch.special.entr(log_probs.exp()).sum(dim=-1)
