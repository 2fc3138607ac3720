"""The loss, and its plain computation: padded sequences, logits only at positions with loss.

    loss = Σ w · (−log π(token | history)) / Σ w
           over the supervised tokens
           + kl_weight · Σ KL(base(· | history) ‖ π(· | history)) / their number
           over the tokens held to the base model

Both run over all micro-batches and ranks of an optimizer step. It is not a mean of means, which
would give too much weight to samples with few supervised tokens. The weights w are those of
token_weights.py, 1 by default.

This KL is the distillation loss of Learning without Forgetting (arXiv 1606.09282) up to a constant,
with the base model's answers as targets. This direction penalizes the loss of anything that the
base model would say; KL(π ‖ base) would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.base_model import BaseModel
from atlas.training.examples import TrainingExample


def pad(examples: Sequence[TrainingExample]) -> dict[str, Tensor]:
    """Pad sequences at the right.

    No attention mask is needed, because in a causal model no token attends to later padding. A mask
    would prevent the use of the fastest attention kernel (with a mask, a training step of the demo
    took 1.35 times as long on a CPU).

    Returns:
        input_ids, labels and anchors of shape [B, T]; weights of the supervised tokens, shape [N].
    """

    def side_by_side(arrays: Iterable[NDArray[Any]], padding: int) -> Tensor:
        tensors = [torch.from_numpy(array) for array in arrays]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding)

    weights = np.concatenate([one.target_weights for one in examples])
    return {
        "input_ids": side_by_side((one.input_ids for one in examples), 0).long(),
        "labels": side_by_side((one.labels for one in examples), IGNORED_LABEL),
        "weights": torch.from_numpy(weights),
        "anchors": side_by_side((np.append(one.anchors, False) for one in examples), False),
    }


def predicting_places(labels: Tensor) -> Tensor:
    """Positions that predict a supervised token, shape [B, T]: position t predicts token t + 1."""
    return functional.pad(labels[:, 1:] != IGNORED_LABEL, (0, 1), value=False)


def sum_losses(model: Any, inputs: dict[str, Tensor], base: BaseModel | None = None) -> Tensor:
    """Σ w · −log π and Σ KL of one micro-batch, shape [2], with gradient. No base model: KL is 0.

    Args:
        model: a causal LM. If its forward takes a boolean `logits_to_keep` of shape [B, T], it
            computes no other logits.
        inputs: the result of `pad`.
    """
    supervised, anchors = predicting_places(inputs["labels"]), inputs["anchors"]
    options = {"input_ids": inputs["input_ids"], "use_cache": False}
    kept = supervised
    if base is not None:
        kept = supervised | anchors
        # Shape [M, V].
        with base.active() as before:
            base_logits = _logits_at(before, anchors, options)
    # Shape [K, V].
    logits = _logits_at(model, kept, options)
    targets = inputs["labels"][:, 1:][supervised[:, :-1]]
    cross_entropy = sum_cross_entropy(logits[supervised[kept]], targets, inputs["weights"])
    divergence = torch.zeros_like(cross_entropy)
    if base is not None:
        divergence = sum_divergence(logits[anchors[kept]], base_logits)
    return torch.stack((cross_entropy, divergence))


def _logits_at(model: Any, kept: Tensor, options: dict[str, Any]) -> Tensor:
    """The logits at the positions `kept` (boolean, shape [B, T]), shape [K, V]."""
    logits: Tensor = model(logits_to_keep=kept, **options).logits
    # A model that does not know the option returns the logits of all positions.
    return logits if logits.dim() == 2 else logits[kept]


def sum_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Σ w · −log softmax at the targets, in float32 or better.

    Args:
        logits: shape [N, V].
        targets: shape [N], as are the weights.
    """
    losses = functional.cross_entropy(_precise(logits), targets, reduction="none")
    return (losses * weights.to(losses.dtype)).sum()


def sum_divergence(logits: Tensor, base_logits: Tensor) -> Tensor:
    """Σ KL(softmax of the base ‖ softmax), in float32 or better; both of shape [M, V]."""
    log_probabilities = _precise(logits).log_softmax(-1)
    of_base = _precise(base_logits).log_softmax(-1)
    return functional.kl_div(log_probabilities, of_base, reduction="sum", log_target=True)


def _precise(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
