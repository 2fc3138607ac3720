"""Log-probabilities and entropies of given responses by a model on this machine.

One forward pass a trajectory; logits are computed where a token that a step owns is predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from atlas.models.local.load import (
    Precision,
    load_model,
    load_renderer,
    locate_model,
    resolve_precision,
)
from atlas.models.local.step_tokens import (
    Measured,
    Question,
    StepTokens,
    questions_about,
    tokens_by_step,
)
from atlas.records import Trajectory
from atlas.rendering.renderer import Renderer

ROWS = 256  # positions at a time in float32 over the whole vocabulary


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
        questions = questions_about(trajectory, self.renderer, self.max_tokens, self.name)
        return tokens_by_step(
            len(trajectory.steps), [(question, self._measure(question)) for question in questions]
        )

    @torch.inference_mode()
    def _measure(self, question: Question) -> Measured:
        device = self.model.device
        ids = torch.from_numpy(question.token_ids).long().to(device)
        places = torch.from_numpy(question.owned).to(device)
        logits = self.model(input_ids=ids[None], logits_to_keep=places - 1, use_cache=False).logits[
            0
        ]  # position t predicts token t + 1
        blocks = zip(torch.split(logits, ROWS), torch.split(ids[places], ROWS), strict=True)
        parts = [_log_probs_and_entropies(*block) for block in blocks]
        log_probs, entropies = (
            torch.cat(part).double().cpu().numpy() for part in zip(*parts, strict=True)
        )
        return log_probs, entropies


def load_scorer(name: str, precision: Precision = "auto") -> LocalScorer:
    """The scorer of a hub id, a model folder or a training run.

    Raises:
        ModelError: the model cannot be loaded or has no usable chat template.
    """
    place = locate_model(name)
    renderer = load_renderer(place)
    return LocalScorer(
        load_model(place, "bfloat16" if resolve_precision(precision) == "bf16" else "float32"),
        renderer,
        name,
    )


def _log_probs_and_entropies(logits: torch.Tensor, targets: torch.Tensor) -> Iterator[torch.Tensor]:
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    yield log_probs.gather(1, targets[:, None])[:, 0]
    yield torch.special.entr(log_probs.exp()).sum(dim=-1)
