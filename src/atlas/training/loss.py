"""The loss, and its plain computation: padded sequences, logits only at positions with loss.

    loss = Σ w · factor · (−log π(token | history)) / Σ |w|
           over the supervised tokens
           + kl_weight · Σ KL(base(· | history) ‖ π(· | history)) / their number
           over the tokens held to the base model

Both run over all micro-batches and ranks of an optimizer step. It is not a mean of means, which
would give too much weight to samples with few supervised tokens. The weights w are those of
token_weights.py, 1 by default. The factors are those of the objective (token_loss.py), 1 without
one.

This KL is the distillation loss of Learning without Forgetting (arXiv 1606.09282) up to a constant,
with the base model's answers as targets. This direction penalizes the loss of anything that the
base model would say; KL(π ‖ base) would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.base_model import BaseModel
from atlas.training.examples import TrainingExample
from atlas.training.token_loss import Targets, TokenLoss, widen

# What examples may say about their supervised tokens, and the names in Targets.
TARGET_ARRAYS = {
    "weights": "target_weights",
    "base_log_probs": "target_base_log_probs",
    "kinds": "target_kinds",
}


def target_arrays(examples: Sequence[TrainingExample]) -> dict[str, NDArray[Any]]:
    """What the examples say about their supervised tokens, each of shape [N]."""
    found = {
        name: [getattr(example, of_example) for example in examples]
        for name, of_example in TARGET_ARRAYS.items()
    }
    return {
        name: np.concatenate(arrays)
        for name, arrays in found.items()
        if all(array is not None for array in arrays)
    }


def targets_of(tokens: Tensor, inputs: Mapping[str, Tensor]) -> Targets:
    """The supervised tokens with the tensors of `target_arrays` in `inputs`."""
    return Targets(tokens, **{name: inputs[name] for name in TARGET_ARRAYS if name in inputs})


def pad(examples: Sequence[TrainingExample]) -> dict[str, Tensor]:
    """Pad sequences at the right.

    No attention mask is needed, because in a causal model no token attends to later padding. A mask
    would prevent the use of the fastest attention kernel (with a mask, a training step of the demo
    took 1.35 times as long on a CPU).

    Returns:
        input_ids, labels and anchors of shape [B, T]; the arrays of `target_arrays`, shape [N].
    """

    def side_by_side(arrays: Iterable[NDArray[Any]], padding: int) -> Tensor:
        tensors = [torch.from_numpy(array) for array in arrays]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding)

    of_targets = target_arrays(examples)
    return {
        "input_ids": side_by_side((one.input_ids for one in examples), 0).long(),
        "labels": side_by_side((one.labels for one in examples), IGNORED_LABEL),
        **{name: torch.from_numpy(array) for name, array in of_targets.items()},
        "anchors": side_by_side((np.append(one.anchors, False) for one in examples), False),
    }


def predicting_places(labels: Tensor) -> Tensor:
    """Positions that predict a supervised token, shape [B, T]: position t predicts token t + 1."""
    return functional.pad(labels[:, 1:] != IGNORED_LABEL, (0, 1), value=False)


def sum_losses(
    model: Any, inputs: dict[str, Tensor], token_loss: TokenLoss, base: BaseModel | None = None
) -> Tensor:
    """Σ w · factor · −log π and Σ KL of one micro-batch, shape [2], with gradient.

    Without a base model the KL is 0.

    Args:
        model: a causal LM. If its forward takes a boolean `logits_to_keep` of shape [B, T], it
            computes no other logits.
        inputs: the result of `pad`.
    """
    supervised, anchors = predicting_places(inputs["labels"]), inputs["anchors"]
    options = {"input_ids": inputs["input_ids"], "use_cache": False}
    kept, base_kept, base_answers = supervised, anchors, None
    if base is not None:
        kept = supervised | anchors
        if token_loss.needs_base_distribution:
            base_kept = kept
        # Shape [K', V].
        with base.active() as before:
            base_logits = _logits_at(before, base_kept, options)
        if token_loss.needs_base_distribution:
            base_answers = base_logits[supervised[base_kept]]
    # Shape [K, V].
    logits = _logits_at(model, kept, options)
    targets = targets_of(inputs["labels"][:, 1:][supervised[:, :-1]], inputs)
    cross_entropy = token_loss(logits[supervised[kept]], targets, base_answers)
    divergence = torch.zeros_like(cross_entropy)
    if base is not None:
        divergence = sum_divergence(logits[anchors[kept]], base_logits[anchors[base_kept]])
    return torch.stack((cross_entropy, divergence))


def _logits_at(model: Any, kept: Tensor, options: dict[str, Any]) -> Tensor:
    """The logits at the positions `kept` (boolean, shape [B, T]), shape [K, V]."""
    logits: Tensor = model(logits_to_keep=kept, **options).logits
    # A model that does not know the option returns the logits of all positions.
    return logits if logits.dim() == 2 else logits[kept]


def sum_divergence(logits: Tensor, base_logits: Tensor) -> Tensor:
    """Σ KL(softmax of the base ‖ softmax), in float32 or better; both of shape [M, V]."""
    log_probabilities = widen(logits).log_softmax(-1)
    of_base = widen(base_logits).log_softmax(-1)
    return functional.kl_div(log_probabilities, of_base, reduction="sum", log_target=True)
