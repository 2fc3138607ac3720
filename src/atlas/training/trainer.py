"""Hugging Face's Trainer with the sparse-mask loss: one of its batches is one optimiser step, cut into forward passes here.

The cut is by cost, over the examples of the step alone, so it changes no loss beyond rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Trainer

from atlas.training.engine import Engine
from atlas.training.examples import TrainingExample
from atlas.training.loss import pad, sum_cross_entropy
from atlas.training.micro_batches import cut_into_micro_batches


def collate(shares: Sequence[Sequence[TrainingExample]]) -> dict[str, Any]:
    """One rank's share of an optimiser step, side by side without padding: input_ids and labels of shape [sum of T]."""
    (examples,) = shares
    nothing = torch.empty(0, dtype=torch.long)
    return {
        "input_ids": torch.cat([nothing, *(torch.from_numpy(example.input_ids) for example in examples)]),
        "labels": torch.cat([nothing, *(torch.from_numpy(example.labels) for example in examples)]),
        "examples": list(examples),
    }


class CriticalStepTrainer(Trainer):
    """Trains on `OptimizerSteps` through `engine`, `max_tokens` and at most `max_examples` in a forward pass.

    What the Trainer calls `num_items_in_batch` is the supervised tokens of the optimiser step, over all ranks.
    """

    def __init__(self, *args: Any, engine: Engine, max_tokens: int, max_examples: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.engine = engine
        self.max_tokens = max_tokens
        self.max_examples = max_examples
        self.model_accepts_loss_kwargs = True  # makes the Trainer count supervised tokens over all ranks
        self.loss_is_scaled_for_ga = True

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:
        model.train()
        passes = self.micro_batches(inputs["examples"])
        losses = []
        syncs = self.accelerator.sync_gradients
        for number, examples in enumerate(passes, start=1):
            is_last = number == len(passes)
            self.accelerator.gradient_state._set_sync_gradients(is_last and syncs)  # DeepSpeed steps at the last pass alone
            with contextlib.nullcontext() if is_last and syncs else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    run = examples or [self.train_dataset.spare]
                    loss = self.compute_loss(model, {"examples": run}, num_items_in_batch=num_items_in_batch)
                    loss = loss if examples else loss * 0.0
                self.accelerator.backward(loss)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def micro_batches(self, examples: Sequence[TrainingExample]) -> list[list[TrainingExample]]:
        """The examples of each forward pass; every rank has equally many passes, maybe empty: sharded models meet in each."""
        tokens = [example.input_ids for example in examples]
        padded, shares = "packing" not in self.engine.parts, "shared_prompts" in self.engine.parts
        batches = cut_into_micro_batches(tokens, self.max_tokens, self.max_examples, padded, shares)
        if self.accelerator.num_processes > 1:
            counts = self.accelerator.gather(torch.tensor([len(batches)], device=self.accelerator.device))
            batches = cut_into_micro_batches(tokens, self.max_tokens, self.max_examples, padded, shares, int(counts.max()))
            batches += [[]] * (int(counts.max()) - len(batches))
        return [[examples[index] for index in batch] for batch in batches]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: torch.Tensor | None = None
    ) -> Any:
        assert num_items_in_batch is not None
        assert not return_outputs
        examples = inputs["examples"]
        if self.engine.parts:
            total = self.engine.loss(model, examples)
        else:
            total = sum_cross_entropy(model, {name: tensor.to(self.args.device) for name, tensor in pad(examples).items()})
        # Ranks average their gradients, so each scales by their number to make it a sum over all of them.
        return total / num_items_in_batch * (self.accelerator.num_processes if self.args.average_tokens_across_devices else 1)
