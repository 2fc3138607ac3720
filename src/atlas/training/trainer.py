"""Hugging Face's Trainer with the loss on masked tokens.

Each batch of the Trainer is one optimizer step, which is divided into forward passes here. The
division depends on the cost of the examples. It changes the loss only by rounding.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Trainer

from atlas.errors import ModelError
from atlas.training.engine.exact_engine import Engine
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.examples import TrainingExample


def collate(shares: Sequence[Sequence[TrainingExample]]) -> dict[str, Any]:
    """One rank's share of an optimizer step.

    The input_ids are concatenated without padding, shape [sum of T], for code that counts tokens.
    """
    (examples,) = shares
    nothing = torch.empty(0, dtype=torch.int32)
    ids = [nothing, *(torch.from_numpy(example.input_ids) for example in examples)]
    return {"input_ids": torch.cat(ids), "examples": list(examples)}


class CriticalStepTrainer(Trainer):
    """Trains through `engine` on what `Schedule.deal_out` gives, with the loss of loss.py.

    What the Trainer calls `num_items_in_batch` is what the two sums are divided by over all ranks,
    shape [2]: the weights of the supervised tokens of the optimizer step, and the number of tokens
    held to the base model.

    Args:
        max_tokens: maximum tokens of a forward pass.
        max_examples: maximum examples of a forward pass; None: only `max_tokens` limits it.
    """

    def __init__(
        self,
        *args: Any,
        engine: Engine,
        max_tokens: int,
        max_examples: int | None = None,
        kl_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.engine = engine
        self.max_tokens = max_tokens
        self.max_examples = max_examples
        self.kl_weight = kl_weight
        # A rank without an example for a pass runs the shortest example, with the weight 0.
        examples = itertools.chain.from_iterable(self.train_dataset)
        self._spare = min(examples, key=lambda example: len(example.input_ids))
        # Of the optimizer steps since the last log.
        self._divergences: list[Tensor] = []
        self.loss_is_scaled_for_ga = True

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, Any]], device: torch.device
    ) -> Tensor:
        examples = [example for batch in batch_samples for example in batch["examples"]]
        weights = np.concatenate([np.empty(0), *(example.target_weights for example in examples)])
        sums = [float(weights.sum()), sum(example.num_anchored_tokens for example in examples)]
        here = torch.tensor(sums, dtype=torch.float64, device=device)
        over_ranks: Tensor = self.accelerator.reduce(here, reduction="sum")
        return over_ranks

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the KL to the base model in its own column, averaged over the row's steps.

        Raises:
            ModelError: a loss or gradient is not a finite number, so training cannot recover.
        """
        for name in ("loss", "grad_norm", "train_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise ModelError(
                    f"training has diverged: {name} is {logs[name]} at optimizer step "
                    f"{self.state.global_step}, expected a finite number. Lower learning_rate, "
                    "raise warmup_ratio, or check the weights of the model; then train into "
                    "another --out."
                )
        if self.engine.base is not None and "loss" in logs:
            mean = torch.stack(self._divergences).mean()
            logs = {**logs, "kl": float(self.accelerator.reduce(mean, reduction="mean"))}
            self._divergences.clear()
        super().log(logs, start_time)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        model.train()
        passes = self.micro_batches(inputs["examples"])
        losses, divergences = [], []
        syncs = self.accelerator.sync_gradients
        for number, examples in enumerate(passes, start=1):
            is_last = number == len(passes)
            # DeepSpeed makes the optimizer step only at the last pass.
            self.accelerator.gradient_state._set_sync_gradients(is_last and syncs)
            run = {"examples": examples or [self._spare]}
            with contextlib.nullcontext() if is_last and syncs else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager():
                    loss, divergence = self.compute_loss(model, run, True, num_items_in_batch)
                    if not examples:
                        loss, divergence = loss * 0.0, divergence * 0.0
                self.accelerator.backward(loss)
            losses.append(loss.detach())
            divergences.append(divergence)
        if self.engine.base is not None:
            self._divergences.append(torch.stack(divergences).sum())
        return torch.stack(losses).sum()

    def micro_batches(self, examples: Sequence[TrainingExample]) -> list[list[TrainingExample]]:
        """The examples of each forward pass.

        Every rank has the same number of passes, some possibly empty, because the ranks of a
        sharded model communicate in each pass.
        """
        tokens = [example.input_ids for example in examples]
        limits = (self.max_tokens, 1 if self.engine.one_by_one else self.max_examples)
        ways = ("packing" not in self.engine.parts, "shared_prompts" in self.engine.parts)
        batches = cut_into_micro_batches(tokens, *limits, *ways)
        if self.accelerator.num_processes > 1:
            count = torch.tensor([len(batches)], device=self.accelerator.device)
            most = int(self.accelerator.gather(count).max())
            batches = cut_into_micro_batches(tokens, *limits, *ways, most)
            batches += [[]] * (most - len(batches))
        return [[examples[index] for index in batch] for batch in batches]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """The loss of one forward pass; as its output the KL in it, without its weight."""
        assert num_items_in_batch is not None
        sums = self.engine.losses(model, inputs["examples"])
        # Ranks average their gradients, so each scales by their number to make a sum over all of
        # them. A sum over nothing is 0.
        counts = torch.where(num_items_in_batch > 0, num_items_in_batch, 1).to(sums.dtype)
        num_ranks = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        scaled = sums / counts * num_ranks
        loss = scaled[0] if self.engine.base is None else scaled[0] + self.kl_weight * scaled[1]
        return (loss, scaled[1].detach()) if return_outputs else loss
