"""examples -> tuned model: Hugging Face's Trainer around the engine, on one process or many."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import ConfigError
from atlas.models.local.load import (
    default_device,
    import_transformers,
    load_model,
    locate_model,
    resolve_precision,
)
from atlas.terminal.progress import say, show_progress
from atlas.training.checkpoint import RESUME_FOLDER, full_disk_is_an_os_error, newest_state
from atlas.training.config import TrainConfig
from atlas.training.examples import ExampleSet, examples_of_steps, schedule_examples
from atlas.training.ranks import Ranks


@dataclass(frozen=True, slots=True)
class TunedModel:
    """A model after its training: `weights` is the whole state where the model's own is sharded; `summary` what is known of the run."""

    model: Any
    weights: dict[str, Any] | None
    summary: dict[str, Any]


def tune_model(config: TrainConfig, examples: ExampleSet, out: Path, ranks: Ranks) -> TunedModel:
    """Train on `examples`, from the newest state in the run folder `out` if there is one. All ranks call it.

    Raises:
        ConfigError: a tracker that cannot be used, a launcher that asks for another precision, or a schedule that does not fit.
        ModelError: the model cannot be loaded, or its loss is no finite number any more.
    """
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # the Trainer forks; the tokenizer's threads must not
    transformers = import_transformers()
    import torch

    from atlas.training.base_model import BaseModel
    from atlas.training.costs import count_run_tokens
    from atlas.training.engine.choose_parts import choose_parts
    from atlas.training.engine.exact_engine import Engine
    from atlas.training.follower import LastStepLogger, RunFollower
    from atlas.training.optimizer_steps import OptimizerSteps
    from atlas.training.trainer import CriticalStepTrainer, collate

    precision = resolve_precision(config.precision)
    arguments = ranks.together(lambda: _trainer_arguments(transformers, config, precision, out))
    transformers.set_seed(config.seed)
    trajectories = examples.by_trajectory
    order = schedule_examples(trajectories, config.epochs, config.batch_size, config.seed)
    steps = examples_of_steps(trajectories, order, config.batch_size)
    ranks.together(
        lambda: _check_schedule(config, arguments.get_warmup_steps(len(steps)), len(steps))
    )
    model = ranks.together(lambda: _load(config, precision))
    base = BaseModel(model) if config.kl_weight and examples.num_anchored_tokens else None
    autocast = torch.bfloat16 if precision == "bf16" else None
    # Tried by one rank for all: their models must be alike, and under FSDP the others may not have their weights yet.
    chosen = ranks.on_first(
        lambda: choose_parts(model, config.engine, config.gradient_window, autocast, base)
    )
    engine = chosen.engine if chosen else Engine(model, config.gradient_window, base)
    parts = ranks.of_first(lambda: engine.parts)
    engine.put_in(parts)
    engine.uses_flash = ranks.of_first(lambda: engine.uses_flash)
    if chosen and chosen.flash_problem:
        say(f"flash attention is not used: {chosen.flash_problem}")
    for part, reason in (chosen.left_out if chosen else {}).items():
        say(f"engine.{part} is not used: {reason}")
    started = time.monotonic()
    with show_progress("training", len(steps)) as bar:
        trainer = CriticalStepTrainer(
            model=model,
            args=arguments,
            train_dataset=OptimizerSteps(trajectories, order, config.batch_size, ranks.size),
            data_collator=collate,
            callbacks=[
                LastStepLogger(),
                *([RunFollower(out, bar, config.epochs)] if ranks.is_first else []),
            ],
            engine=engine,
            max_tokens=config.engine.micro_batch_tokens,
            max_examples=config.micro_batch_size,
            kl_weight=config.kl_weight,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        for callback in trainer.callback_handler.callbacks:
            if type(callback).__name__ == "TensorBoardCallback" and callback.logging_dir is None:
                callback.logging_dir = str(
                    out / "tensorboard"
                )  # its own choice is among the states, which are removed
        state = ranks.of_first(lambda: newest_state(out / RESUME_FOLDER))
        with full_disk_is_an_os_error(out), ranks.losing_none():
            trainer.train(resume_from_checkpoint=state)
            is_sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
            weights = (
                trainer.accelerator.get_state_dict(trainer.model_wrapped) if is_sharded else None
            )
    engine.put_in(())
    losses, divergences = (
        [row[key] for row in trainer.state.log_history if key in row] for key in ("loss", "kl")
    )
    whole = trainer.accelerator.unwrap_model(trainer.model)
    commit = getattr(
        whole.config, "_commit_hash", None
    )  # of a model from the hub, which has no digest of its own
    summary = {
        "optimizer_steps": trainer.state.global_step,
        "final_loss": _mean_of_last(losses),
        "train_seconds": round(time.monotonic() - started, 1),
        "precision": precision,
        "engine": " ".join(parts) or "plain",
        "attention": ", ".join(sorted(engine.ways)) or "the model's own",
        "num_run_tokens": count_run_tokens(steps, config, parts),
        "num_parameters": whole.num_parameters(),
        "num_processes": ranks.size,
    }
    summary |= {"final_kl": _mean_of_last(divergences)} if divergences else {}
    return TunedModel(whole, weights, summary | ({"base_model_commit": commit} if commit else {}))


def _mean_of_last(values: list[float]) -> float:
    return round(sum(values[-10:]) / max(1, len(values[-10:])), 4)


def _load(config: TrainConfig, precision: str) -> Any:
    """bf16 keeps float32 weights and computes under autocast: updates of 1e-5 vanish in bf16 weights. Adapters leave the base in bf16."""
    place = locate_model(config.model)
    if config.lora is None:
        return load_model(place, "float32")
    from atlas.training.adapters import load_with_adapters

    return load_with_adapters(place, config.lora, precision)


def _check_schedule(config: TrainConfig, num_warmup_steps: int, num_steps: int) -> None:
    if (
        config.lr_scheduler == "polynomial" and num_warmup_steps >= num_steps
    ):  # transformers would divide by what is left
        raise ConfigError(
            f"lr_scheduler=polynomial needs optimiser steps after the warm-up, and warmup_ratio={config.warmup_ratio:g} takes all of "
            f"this run's {num_steps}. Set warmup_ratio=0, a smaller batch_size, or another lr_scheduler."
        )


def _trainer_arguments(transformers: Any, config: TrainConfig, precision: str, out: Path) -> Any:
    on_cpu = default_device() == "cpu"
    try:
        for tracker in transformers.integrations.get_reporting_integration_callbacks(
            list(config.report_to)
        ):
            tracker()
    except Exception as error:  # each tracker has its own way to say that its package is missing
        raise ConfigError(
            f"report_to={list(config.report_to)} cannot be used: {error} Install what it names, or leave it out."
        ) from error
    arguments = transformers.TrainingArguments(
        output_dir=str(out / RESUME_FOLDER),
        run_name=out.resolve().name,
        num_train_epochs=1,  # the schedule holds all epochs
        per_device_train_batch_size=1,  # of a rank's shares of optimiser steps: the Trainer cuts them
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler,
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=precision == "bf16",
        activation_checkpointing=config.gradient_checkpointing,
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,  # it logs a loss of 0 in place of one that is no number
        save_steps=config.save_every,
        save_total_limit=2,
        seed=config.seed,
        data_seed=config.seed,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=list(config.report_to) or "none",
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
    )
    if arguments.mixed_precision != {"bf16": "bf16", "fp32": "no"}[precision]:
        raise ConfigError(
            f"the launcher's mixed_precision is '{arguments.mixed_precision}', and this run computes in {precision}. "
            f"Set mixed_precision of the launcher to {'bf16' if precision == 'bf16' else 'no'}, or precision=… here to the other."
        )
    arguments._n_gpu = min(
        arguments.n_gpu, 1
    )  # DataParallel over all GPUs in sight would multiply batch_size in silence
    return arguments
