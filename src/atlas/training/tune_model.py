"""schedule -> tuned model: Hugging Face's Trainer around the engine, on one process or many."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import ConfigError, ModelError
from atlas.models.local.load import import_transformers, load_model, locate_model
from atlas.models.local.precision import default_device
from atlas.terminal.progress import Bar, say, show_progress
from atlas.training.checkpoint import RESUME_FOLDER, full_disk_is_an_os_error, newest_state
from atlas.training.chosen_precision import keep_precision
from atlas.training.chosen_rows import (
    ChosenRows,
    keep_rows,
    memory_of_each,
    problem_of_memory,
    with_rows,
)
from atlas.training.config import TrainConfig
from atlas.training.examples import TrainingExample
from atlas.training.model_shape import measure_shape
from atlas.training.objectives.base import make_objective, needs_of
from atlas.training.objectives.guard import NegativeGuard
from atlas.training.ranks import Ranks
from atlas.training.schedule import Schedule, share_out


@dataclass(frozen=True, slots=True)
class TunedModel:
    """A model after its training.

    Attributes:
        weights: the gathered weights of a sharded model; None: the model's own.
        summary: what the run's manifest reports.
    """

    model: Any
    weights: dict[str, Any] | None
    summary: dict[str, Any]


def tune_model(
    config: TrainConfig,
    schedule: Schedule,
    held_out: Sequence[TrainingExample],
    out: Path,
    ranks: Ranks,
    shared_choices: Path | None = None,
) -> TunedModel:
    """Train from the newest state in the run folder `out` if there is one. All ranks call it.

    Args:
        held_out: examples that are not trained on; their loss is logged.
        shared_choices: the folder of what is chosen once for all runs that are compared.

    Raises:
        ConfigError: a tracker that cannot be used, a launcher that asks for another precision, or
            a learning rate schedule that does not fit.
        ModelError: the model cannot be loaded, its loss is no longer a finite number, or no weight
            has changed in the end.
        RunError: the newest state cannot be proved to be the one that was saved.
    """
    # The Trainer forks, which is unsafe with the threads of a tokenizer.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers = import_transformers()

    from atlas.training.base_model import BaseModel
    from atlas.training.base_predictions import with_base_log_probs
    from atlas.training.costs import count_run_tokens
    from atlas.training.engine.free_memory import give_back_free_memory
    from atlas.training.equal_weights import equalize_weights
    from atlas.training.follower import HELD_OUT_LOSS
    from atlas.training.states import digest_tensors

    location = locate_model(config.model).location
    states = out / RESUME_FOLDER
    chosen = ranks.of_first(lambda: keep_precision(config, location, states, shared_choices))
    precision = chosen.precision
    if chosen.reason is not None:
        say(f"precision: {precision}, because {chosen.reason}")
    rows = _choose_rows(config, location, schedule, precision, states, ranks, shared_choices)
    config = with_rows(config, rows.micro_batch_tokens)
    arguments = ranks.together(lambda: _trainer_arguments(transformers, config, precision, out))
    transformers.set_seed(config.seed)
    steps = schedule.examples
    model = ranks.together(lambda: _load(config, precision))
    before = ranks.on_first(lambda: digest_tensors(_trained(model)))
    has_anchors = any(example.num_anchored_tokens for step in steps for example in step)
    objective, needs = make_objective(config.objective), needs_of(config.objective)
    has_kl = bool(config.kl_weight) and has_anchors
    if has_kl or needs != "nothing":
        equalize_weights(model, ranks)
    base = BaseModel(model) if has_kl or needs == "base_distribution" else None
    longest = max(len(example.input_ids) for step in steps for example in step)
    engine = _make_engine(config, model, base, precision, longest, ranks)
    parts = engine.parts
    # The checks have freed several sets of gradients.
    give_back_free_memory()
    started = time.monotonic()
    if needs == "base_probabilities":
        schedule = with_base_log_probs(schedule, engine, config, ranks, _computing(precision))
    if config.lowest_weight < 0:
        objective = NegativeGuard(objective, config.negative_floor)
    engine.token_loss.objective = objective
    with show_progress("training", len(steps)) as bar:
        trainer = _make_trainer(config, model, arguments, engine, schedule, out, ranks, bar)
        if held_out:
            _log_held_out(trainer, held_out, config.held_out_every, ranks)
        state = ranks.of_first(lambda: newest_state(states))
        with full_disk_is_an_os_error(out):
            trainer.train(resume_from_checkpoint=state)
            weights = trainer.gathered_weights()
            silenced = trainer.describe_objective()
    engine.put_in(())
    ranks.on_first(
        lambda: _check_change(config, before or {}, weights or _trained(model), silenced)
    )
    history = trainer.state.log_history
    whole = trainer.accelerator.unwrap_model(trainer.model)
    summary = {
        "optimizer_steps": trainer.state.global_step,
        "final_loss": _mean_of_last(history, "loss"),
        "train_seconds": round(time.monotonic() - started, 1),
        "precision": precision,
        **({} if chosen.reason is None else {"precision_reason": chosen.reason}),
        "micro_batch_tokens": rows.micro_batch_tokens,
        **({} if rows.reason is None else {"rows_reason": rows.reason}),
        "engine": " ".join(parts) or "plain",
        "attention": ", ".join(sorted(engine.ways)) or "the model's own",
        "num_run_tokens": count_run_tokens(steps, config, parts, engine.one_by_one),
        "num_parameters": whole.num_parameters(),
        "num_processes": ranks.size,
    }
    if held := [row[HELD_OUT_LOSS] for row in history if HELD_OUT_LOSS in row]:
        summary["held_out_loss_before"] = round(held[0], 4)
        summary["held_out_loss"] = round(held[-1], 4)
    summary |= {name: round(value, 4) for name, value in silenced.items()}
    if has_kl:
        summary["final_kl"] = _mean_of_last(history, "kl")
    # A model from the hub has a commit instead of a digest.
    if commit := getattr(whole.config, "_commit_hash", None):
        summary["base_model_commit"] = commit
    return TunedModel(whole, weights, summary)


def _choose_rows(
    config: TrainConfig,
    location: str,
    schedule: Schedule,
    precision: str,
    states: Path,
    ranks: Ranks,
    shared: Path | None,
) -> ChosenRows:
    """The rows of the run, with a warning if they may need more memory than there is."""
    memory = memory_of_each(ranks)
    rows = ranks.of_first(
        lambda: keep_rows(config, location, schedule, precision, memory, states, shared)
    )
    if rows.reason is not None:
        say(f"rows of up to {rows.micro_batch_tokens:,} tokens: {rows.reason}")
    config = with_rows(config, rows.micro_batch_tokens)
    shape = measure_shape(location, config)
    if problem := problem_of_memory(config, shape, schedule, precision, memory):
        say(f"memory: {problem}")
    return rows


def _make_trainer(
    config: TrainConfig,
    model: Any,
    arguments: Any,
    engine: Any,
    schedule: Schedule,
    out: Path,
    ranks: Ranks,
    bar: Bar,
) -> Any:
    from transformers import PrinterCallback

    from atlas.training.follower import LastStepLogger, RunFollower
    from atlas.training.rates import rate_factors
    from atlas.training.trainer import CriticalStepTrainer, collate

    trainer = CriticalStepTrainer(
        model=model,
        args=arguments,
        train_dataset=schedule.deal_out(ranks.size),
        data_collator=collate,
        callbacks=[
            LastStepLogger(),
            *([RunFollower(out, bar, config.epochs)] if ranks.is_first else []),
        ],
        engine=engine,
        max_tokens=config.engine.row_tokens,
        max_examples=config.micro_batch_size,
        kl_weight=config.kl_weight,
        rate_factor=rate_factors(config, len(schedule.steps)),
    )
    trainer.remove_callback(PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if type(callback).__name__ == "TensorBoardCallback" and callback.logging_dir is None:
            # By default it would write to the folder of the states, which is removed.
            callback.logging_dir = str(out / "tensorboard")
    return trainer


def _log_held_out(
    trainer: Any, held_out: Sequence[TrainingExample], every: int, ranks: Ranks
) -> None:
    """Let the trainer log the loss on examples that are not trained on."""
    from atlas.training.follower import HeldOutLogger

    lengths = [len(example.input_ids) for example in held_out]
    mine = [held_out[place] for place in share_out(lengths, ranks.size)[ranks.index]]
    trainer.add_callback(HeldOutLogger(lambda: trainer.log_held_out(mine), every))


def _computing(precision: str) -> Callable[[], AbstractContextManager[object]]:
    """The context of a forward pass outside the Trainer, in the precision of the training."""
    import torch

    device = default_device()
    return lambda: torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def _mean_of_last(history: list[dict[str, float]], key: str) -> float:
    values = [row[key] for row in history if key in row][-10:]
    return round(sum(values) / max(1, len(values)), 4)


def _load(config: TrainConfig, precision: str) -> Any:
    """The model in the types that training needs.

    With bf16 the weights stay float32 and computation runs under autocast, because updates of 1e-5
    vanish in bf16 weights. With adapters the frozen base is in bf16.
    """
    place = locate_model(config.model)
    if config.lora is None:
        return load_model(place, "float32")
    from atlas.training.adapters import describe_reach, load_with_adapters

    model = load_with_adapters(place, config.lora, precision)
    if reach := describe_reach(model):
        say(reach)
    return model


def _make_engine(
    config: TrainConfig, model: Any, base: Any, precision: str, longest: int, ranks: Ranks
) -> Any:
    """Make the engine. Rank 0 tries its parts for all ranks.

    The models of all ranks must be equal, and with FSDP the other ranks may not have weights yet.
    """
    import torch

    from atlas.training.engine.choose_parts import choose_parts
    from atlas.training.engine.exact_engine import Engine

    autocast = torch.bfloat16 if precision == "bf16" else None
    chosen = ranks.on_first(
        lambda: choose_parts(model, config.engine, config.gradient_window, autocast, base, longest)
    )
    engine = chosen.engine if chosen else Engine(model, config.gradient_window, base)
    engine.own_attention = ranks.of_first(lambda: engine.own_attention)
    engine.put_in(ranks.of_first(lambda: engine.parts))
    engine.uses_flash = ranks.of_first(lambda: engine.uses_flash)
    engine.one_by_one = ranks.of_first(lambda: engine.one_by_one)
    if chosen and chosen.flash_problem:
        say(f"flash attention is not used: {chosen.flash_problem}")
    if chosen and chosen.one_by_one:
        say(f"each sequence has a separate forward pass: {chosen.one_by_one}")
    for part, reason in (chosen.left_out if chosen else {}).items():
        say(f"engine.{part} is not used: {reason}")
    return engine


def _trained(model: Any) -> dict[str, Any]:
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def _check_change(
    config: TrainConfig,
    before: dict[str, str],
    after: dict[str, Any],
    silenced: Mapping[str, float],
) -> None:
    """Report trained tensors that are still those of the base model; all of them is an error.

    Args:
        before: the digests of the trained tensors before the training.
        silenced: what the objective has silenced.
    """
    from atlas.training.states import digest_tensors, name_some

    found = digest_tensors({name: after[name] for name in before})
    same = [name for name, digest in before.items() if found[name] == digest]
    if len(same) == len(before) and silenced.get("mean_factor") == 0:
        by = [f"objective={config.objective.name}"] if config.objective.name != "none" else []
        if config.lowest_weight < 0 or not by:
            by.append(f"negative_floor={config.negative_floor:g}")
        raise ModelError(
            f"the training has changed none of the {len(before)} trained tensors, because "
            f"{' with '.join(by)} has silenced all tokens. Set its limits "
            "so that some count, and train into another --out."
        )
    if len(same) == len(before):
        raise ModelError(
            f"the training has changed none of the {len(before)} trained tensors, so its result "
            f"would be the base model. learning_rate={config.learning_rate:g} is too small for "
            "the precision of the weights, or the loss has no gradient: see grad_norm in "
            "metrics.jsonl. Raise learning_rate, and train into another --out."
        )
    if same:
        say(
            f"{len(same)} of {len(before)} trained tensors have not changed, among them "
            f"{name_some(same)}"
        )


def _trainer_arguments(transformers: Any, config: TrainConfig, precision: str, out: Path) -> Any:
    on_cpu = default_device() == "cpu"
    report_to, integrations = list(config.report_to), transformers.integrations
    try:
        for tracker in integrations.get_reporting_integration_callbacks(report_to):
            tracker()
    except Exception as error:
        # Each tracker has its own way to say that its package is missing.
        raise ConfigError(
            f"report_to={report_to} cannot be used: {error} Install what it names, or remove it."
        ) from error
    arguments = transformers.TrainingArguments(
        output_dir=str(out / RESUME_FOLDER),
        run_name=out.resolve().name,
        # The schedule holds all epochs.
        num_train_epochs=1,
        # An item is a rank's share of an optimizer step. The Trainer subclass cuts it.
        per_device_train_batch_size=1,
        learning_rate=config.learning_rate,
        # For trackers only: rates.py makes the schedule.
        lr_scheduler_type=config.lr_scheduler,
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=precision == "bf16",
        activation_checkpointing=config.gradient_checkpointing,
        logging_steps=config.log_every,
        # The filter would log a loss of 0 instead of NaN.
        logging_nan_inf_filter=False,
        save_steps=config.save_every,
        save_total_limit=2,
        seed=config.seed,
        data_seed=config.seed,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=report_to or "none",
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
    )
    expected = "bf16" if precision == "bf16" else "no"
    if arguments.mixed_precision != expected:
        raise ConfigError(
            f"the launcher's mixed_precision is '{arguments.mixed_precision}', and this run "
            f"computes in {precision}. Set mixed_precision of the launcher to {expected}, or "
            "precision=… here to the other."
        )
    deepspeed = getattr(arguments, "deepspeed_plugin", None)
    if deepspeed is not None and "scheduler" in deepspeed.deepspeed_config:
        raise ConfigError(
            "the DeepSpeed config of the launcher sets a scheduler, which would replace "
            f"lr_scheduler={config.lr_scheduler} of this run. Remove 'scheduler' from it."
        )
    # DataParallel over all visible GPUs would silently multiply batch_size.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
