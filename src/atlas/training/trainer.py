"""Hugging Face's Trainer with the loss on masked tokens.

Each batch of the Trainer is one optimizer step, which is divided into forward passes here. The
division depends on the cost of the examples. It changes the loss only by rounding.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Trainer

from atlas.errors import ModelError
from atlas.store.record_files import write_text
from atlas.terminal.progress import say
from atlas.training.engine.exact_engine import Engine
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.evaluation_mode import evaluation_mode
from atlas.training.examples import TrainingExample
from atlas.training.follower import HELD_OUT_LOSS
from atlas.training.ranks import Ranks, asks_for_shards
from atlas.training.states import (
    check_state,
    digest_tensors,
    load_state,
    save_state,
    seal_state,
)
from atlas.training.tally_rows import TALLY_ROWS
from atlas.training.token_loss import describe_tally

# A state's sums of loss and KL since the last log. The Trainer does not keep them.
SINCE_LOG_FILE = "since_log.json"


def collate(shares: Sequence[Sequence[TrainingExample]]) -> dict[str, Any]:
    """One rank's share of an optimizer step.

    The input_ids are concatenated without padding, shape [sum of T], for code that counts tokens.
    """
    (examples,) = shares
    nothing = torch.empty(0, dtype=torch.int32)
    ids = [nothing, *(torch.from_numpy(example.input_ids) for example in examples)]
    return {"input_ids": torch.cat(ids), "examples": list(examples)}


def with_weights_near_1(
    examples: Sequence[TrainingExample], num_items: Tensor
) -> tuple[Sequence[TrainingExample], Tensor]:
    """Examples of an optimizer step with their sums, scaled so that Σ |w| is between 0.5 and 1.

    Only the ratios of weights matter within a step. In float32, weights that are very small beside
    those of other steps would be 0. The factor is a power of two, so it changes no rounding.
    """
    if all(example.weights is None for example in examples):
        return examples, num_items
    total, exponent = math.frexp(float(num_items[0]))
    scaled = num_items.clone()
    scaled[0] = total
    return [example.with_scaled_weights(-exponent) for example in examples], scaled


class CriticalStepTrainer(Trainer):
    """Trains through `engine` on what `Schedule.deal_out` gives, with the loss of loss.py.

    What the Trainer calls `num_items_in_batch` is what the two sums are divided by over all ranks,
    shape [2]: Σ |w| over the supervised tokens of the optimizer step, and the number of tokens held
    to the base model.

    Args:
        max_tokens: maximum tokens of a forward pass.
        max_examples: maximum examples of a forward pass; None: only `max_tokens` limits it.
        rate_factor: the share of the peak learning rate in each optimizer step; None: the schedule
            of the arguments.
    """

    def __init__(
        self,
        *args: Any,
        engine: Engine,
        max_tokens: int,
        max_examples: int | None = None,
        kl_weight: float = 0.0,
        rate_factor: Callable[[int], float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.engine = engine
        self.max_tokens = max_tokens
        self.max_examples = max_examples
        self.kl_weight = kl_weight
        self._rate_factor = rate_factor
        self._ranks = Ranks(self.args.process_index, self.args.world_size)
        # Digests of the frozen tensors; they are computed with the first state.
        self._frozen: dict[str, str] = {}
        # A rank without an example for a pass runs the shortest example, with the weight 0.
        examples = itertools.chain.from_iterable(self.train_dataset)
        self._spare = min(examples, key=lambda example: len(example.input_ids))
        # Loss and KL of the optimizer steps since the last log, on this rank.
        self._sums, self._num_summed = torch.zeros(2), 0
        # The tally of the objective at the last log, on this rank.
        self._logged_tally = torch.zeros_like(self._tally)
        self.loss_is_scaled_for_ga = True
        if asks_for_shards() and not self.is_fsdp_enabled:
            say(
                "the launcher asks for FSDP, and accelerate does not shard on a CPU: every process "
                "holds the whole model"
            )

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler: Any
        if self.lr_scheduler is None and self._rate_factor is not None:
            chosen = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, self._rate_factor)
        return super().create_scheduler(num_training_steps, optimizer)

    @property
    def _tally(self) -> Tensor:
        """The tally of the objective on this rank so far, shape [5, 3]; zeros without one."""
        tally = self.engine.token_loss.tally
        return torch.zeros(len(TALLY_ROWS), 3, dtype=torch.float64) if tally is None else tally

    def describe_objective(self) -> dict[str, float]:
        """What the objective has silenced in the whole training, over all ranks."""
        return describe_tally(self.accelerator.reduce(self._tally.to(self.args.device)))

    def gathered_weights(self) -> dict[str, Tensor] | None:
        """The whole weights of a sharded model, on the first rank; None: it is not sharded."""
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            return None
        weights: dict[str, Tensor] = self.accelerator.get_state_dict(self.model_wrapped) or {}
        # Otherwise `save_pretrained` would write a tied tensor twice.
        for name, source in getattr(self.model, "all_tied_weights_keys", {}).items():
            if name in weights and source in weights:
                weights[name] = weights[source]
        return weights

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model's part of a state (states.py)."""
        gathered = self.gathered_weights()
        if self.args.should_save and output_dir is not None:
            if not self._frozen and gathered is None:
                named = self.model.named_parameters()
                frozen = {name: one.detach() for name, one in named if not one.requires_grad}
                self._frozen = digest_tensors(frozen)
            save_state(Path(output_dir), self.model, gathered, self._frozen)
        sums = self._ranks.gather(self._sums.tolist())
        tallies = self._ranks.gather([self._tally.tolist(), self._logged_tally.tolist()])
        if self.args.should_save and output_dir is not None:
            since = {"num_steps": self._num_summed, "sums": sums, "tallies": tallies}
            write_text(Path(output_dir) / SINCE_LOG_FILE, json.dumps(since) + "\n")

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._save_checkpoint(*args, **kwargs)
        # Every rank has written its part by now.
        self._ranks.gather(None)
        if self.args.should_save:
            seal_state(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self._ranks.together(lambda: load_state(Path(resume_from_checkpoint), self.model))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        # The Trainer has just loaded the weights of a sharded model.
        if checkpoint is not None and (gathered := self.gathered_weights()) is not None:
            self._ranks.on_first(lambda: check_state(Path(checkpoint), gathered))
        if checkpoint is not None:
            since = json.loads((Path(checkpoint) / SINCE_LOG_FILE).read_text(encoding="utf-8"))
            # With another number of ranks, each begins with the mean.
            sums = torch.tensor(since["sums"])
            is_own = len(sums) == self._ranks.size
            self._sums = sums[self._ranks.index] if is_own else sums.mean(0)
            self._num_summed = since["num_steps"]
            if self.engine.token_loss.objective is not None:
                tallies = torch.tensor(since["tallies"], dtype=torch.float64)
                own = tallies[self._ranks.index] if is_own else tallies.sum(0) / self._ranks.size
                self.engine.token_loss.tally, self._logged_tally = own
        super()._load_optimizer_and_scheduler(checkpoint)

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, Any]], device: torch.device
    ) -> Tensor:
        examples = [example for batch in batch_samples for example in batch["examples"]]
        weights = np.concatenate([np.empty(0), *(example.target_weights for example in examples)])
        anchored = sum(example.num_anchored_tokens for example in examples)
        sums = [float(np.abs(weights).sum()), anchored]
        here = torch.tensor(sums, dtype=torch.float64, device=device)
        over_ranks: Tensor = self.accelerator.reduce(here, reduction="sum")
        return over_ranks

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log loss and KL to the base model, averaged over the row's steps.

        The Trainer forgets the steps between the last log and the state that it resumes from.

        Raises:
            ModelError: a loss or gradient is not a finite number, so training cannot recover.
        """
        if "loss" in logs:
            sums = self._sums.to(self.args.device) / self._num_summed
            loss, divergence = self.accelerator.reduce(sums, reduction="mean").tolist()
            logs = {**logs, "loss": loss}
            if self.kl_weight and self.engine.base is not None:
                logs["kl"] = divergence
            self._sums, self._num_summed = torch.zeros(2), 0
            if self.engine.token_loss.objective is not None:
                tally = self._tally.to(self.args.device)
                new = tally - self._logged_tally.to(tally.device)
                logs |= describe_tally(self.accelerator.reduce(new))
                self._logged_tally = tally
        for name in ("loss", "grad_norm", "train_loss", HELD_OUT_LOSS):
            if not math.isfinite(logs.get(name, 0.0)):
                raise ModelError(
                    f"training has diverged: {name} is {logs[name]} at optimizer step "
                    f"{self.state.global_step}, expected a finite number. Lower learning_rate, "
                    "raise warmup_ratio, or check the weights of the model; then train into "
                    "another --out."
                )
        super().log(logs, start_time)

    def log_held_out(self, examples: Sequence[TrainingExample]) -> None:
        """Compute and log Σ w · (−log π) / Σ |w| over examples that are not trained on.

        Neither the objective nor the KL matters here, so the base model does not run.

        Args:
            examples: this rank's share. It changes neither weights nor random numbers.
        """
        model = self.model_wrapped
        weights = sum(float(example.target_weights.sum()) for example in examples)
        here = torch.tensor([weights, 0.0], dtype=torch.float64, device=self.args.device)
        counts = self.accelerator.reduce(here, reduction="sum")
        examples, counts = with_weights_near_1(examples, counts)
        total = torch.zeros((), dtype=torch.float64, device=self.args.device)
        computing = self.compute_loss_context_manager()
        with evaluation_mode(model), torch.no_grad(), computing, self._plain_loss():
            for batch in self.micro_batches(examples):
                losses = self._scaled_losses(model, batch or [self._spare], counts)
                if batch:
                    total += losses[0]
        mean = self.accelerator.reduce(total, reduction="mean")
        self.log({HELD_OUT_LOSS: float(mean)})

    @contextlib.contextmanager
    def _plain_loss(self) -> Iterator[None]:
        """Compute without the objective and without the base model."""
        base, self.engine.base = self.engine.base, None
        try:
            with self.engine.token_loss.plain():
                yield
        finally:
            self.engine.base = base

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        assert num_items_in_batch is not None
        model.train()
        of_step, num_items = with_weights_near_1(inputs["examples"], num_items_in_batch)
        passes = self.micro_batches(of_step)
        losses, divergences = [], []
        syncs = self.accelerator.sync_gradients
        for number, examples in enumerate(passes, start=1):
            is_last = number == len(passes)
            # DeepSpeed makes the optimizer step only at the last pass.
            self.accelerator.gradient_state._set_sync_gradients(is_last and syncs)
            run = {"examples": examples or [self._spare]}
            counts = contextlib.nullcontext() if examples else self.engine.token_loss.uncounted()
            with contextlib.nullcontext() if is_last and syncs else self.accelerator.no_sync(model):
                with self.compute_loss_context_manager(), counts:
                    loss, divergence = self.compute_loss(model, run, True, num_items)
                    if not examples:
                        loss, divergence = loss * 0.0, divergence * 0.0
                self.accelerator.backward(loss)
            losses.append(loss.detach())
            divergences.append(divergence)
        loss = torch.stack(losses).sum()
        sums = torch.stack((loss, torch.stack(divergences).sum())).float()
        self._sums = self._sums.to(sums.device) + sums
        self._num_summed += 1
        return loss

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
        scaled = self._scaled_losses(model, inputs["examples"], num_items_in_batch)
        loss = scaled[0] if self.engine.base is None else scaled[0] + self.kl_weight * scaled[1]
        return (loss, scaled[1].detach()) if return_outputs else loss

    def _scaled_losses(
        self, model: Any, examples: Sequence[TrainingExample], num_items: Tensor
    ) -> Tensor:
        """Both sums of a forward pass, each divided by its number of items, shape [2]."""
        sums = self.engine.losses(model, examples)
        # Ranks average their gradients, so each scales by their number to make a sum over all of
        # them. A sum over nothing is 0.
        counts = torch.where(num_items > 0, num_items, 1).to(sums.dtype)
        num_ranks = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
        return sums / counts * num_ranks
