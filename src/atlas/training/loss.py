"""The sparse-mask loss, the plain way: sequences padded to one length, logits where a supervised token is predicted.

    loss = Σ over the supervised tokens of one optimiser step of −log π(token | history) / their number

over all micro-batches and all ranks: never a mean of means, which would over-weight samples with few supervised tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.examples import TrainingExample


def pad(examples: Sequence[TrainingExample]) -> dict[str, torch.Tensor]:
    """Pad to the right: input_ids and labels of shape [B, T].

    No attention mask: in a causal model no token attends to the padding after it, so a mask would change nothing but keep the
    attention from its fastest kernel (on a CPU a training step of the demo took 1.35 times as long with one).
    """
    pad_sequence = torch.nn.utils.rnn.pad_sequence
    ids = [torch.from_numpy(example.input_ids).long() for example in examples]
    labels = [torch.from_numpy(example.labels) for example in examples]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=0),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED_LABEL),
    }


def predicting_places(labels: torch.Tensor) -> torch.Tensor:
    """Where a supervised token is predicted, bool, shape [B, T]: position t predicts token t + 1."""
    return functional.pad(labels[:, 1:] != IGNORED_LABEL, (0, 1), value=False)


def sum_cross_entropy(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Σ −log π over the supervised tokens of one micro-batch; a scalar that carries gradient.

    Args:
        model: a causal LM whose forward takes a boolean `logits_to_keep` of shape [B, T].
        inputs: input_ids and labels (unshifted), each [B, T], padded to the right.
    """
    targets = inputs["labels"][:, 1:]
    predicts = predicting_places(inputs["labels"])
    logits = model(input_ids=inputs["input_ids"], logits_to_keep=predicts, use_cache=False).logits  # [N supervised, V]
    return sum_of(logits, targets[targets != IGNORED_LABEL])


def sum_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Σ −log softmax at the targets, in float32 or better."""
    return functional.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="sum")
