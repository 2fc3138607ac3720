"""The sparse-mask loss on Hugging Face's Trainer.

    loss = Σ over the supervised tokens of one optimiser step of −log π(token | history) / their number

over all micro-batches and all ranks: never a mean of means, which would over-weight samples with few supervised tokens.
Logits are computed at the positions that predict a supervised token, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Trainer

from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.examples import TrainingExample


class ScheduledExamples(Dataset[dict[str, torch.Tensor]]):
    """The examples in the order in which they are trained on."""

    def __init__(self, examples: Sequence[TrainingExample], order: Sequence[int]) -> None:
        self._examples = examples
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        example = self._examples[self._order[index]]
        return {"input_ids": torch.from_numpy(example.input_ids).long(), "labels": torch.from_numpy(example.labels)}


def collate(rows: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Pad to the right: input_ids and labels of shape [B, T].

    No attention mask: in a causal model no token attends to the padding after it, so a mask would change nothing but keep the
    attention from its fastest kernel (on a CPU a training step of the demo took 1.35 times as long with one).
    """
    pad = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": pad([row["input_ids"] for row in rows], batch_first=True, padding_value=0),
        "labels": pad([row["labels"] for row in rows], batch_first=True, padding_value=IGNORED_LABEL),
    }


def sum_cross_entropy(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Σ −log π over the supervised tokens of one micro-batch, in float32; a scalar that carries gradient.

    Args:
        model: a causal LM whose forward takes a boolean `logits_to_keep` of shape [B, T].
        inputs: input_ids and labels (unshifted), each [B, T], padded to the right.
    """
    targets = inputs["labels"][:, 1:]
    supervised = targets != IGNORED_LABEL
    predicts = torch.nn.functional.pad(supervised, (0, 1), value=False)  # position t predicts token t + 1
    logits = model(input_ids=inputs["input_ids"], logits_to_keep=predicts, use_cache=False).logits  # [N supervised, V]
    return functional.cross_entropy(logits.float(), targets[supervised], reduction="sum")


class CriticalStepTrainer(Trainer):
    """Hugging Face's Trainer with the loss above. `num_items_in_batch` is the supervised tokens of the optimiser step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # makes the Trainer count supervised tokens over accumulation and ranks
        self.loss_is_scaled_for_ga = True

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: torch.Tensor | None = None
    ) -> Any:
        assert num_items_in_batch is not None
        assert not return_outputs
        total = sum_cross_entropy(model, inputs)
        # Ranks average their gradients, so each scales by their number to make it a sum over all of them.
        return total / num_items_in_batch * (self.accelerator.num_processes if self.args.average_tokens_across_devices else 1)
