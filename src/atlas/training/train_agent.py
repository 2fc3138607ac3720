"""trajectories + selection -> checkpoint. The whole trajectory stays in the context; loss on the chosen steps alone."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atlas.errors import ConfigError, DataError, DependencyError, ModelError
from atlas.models.local import (
    CHECKPOINT_FOLDER,
    import_transformers,
    load_model,
    load_renderer,
    locate_model,
    model_input,
    resolve_precision,
)
from atlas.progress import say, show_progress
from atlas.runs import TRAJECTORY_FILES, read_selections, read_trajectories
from atlas.store import Manifest, Run, run_input, start_run
from atlas.training.config import LoraConfig, TrainConfig
from atlas.training.examples import ExampleSet, build_examples, schedule_examples

__all__ = ["LoraConfig", "TrainConfig", "train_agent"]

RESUME_FOLDER = "resume.partial"
ROOM = 2**20  # bytes: with less room than this left, a failed write is taken for a full disk


def train_agent(config: TrainConfig, trajectories: Path, selection: Path, out: Path) -> Manifest:
    """Tune `config.model` on the selected steps of `trajectories`; the run folder `out` holds `checkpoint/`.

    Raises:
        RunError: a run folder is missing, unfinished, or the selection is not of these trajectories.
        ModelError: the model cannot be loaded or has no usable chat template.
        DataError: no token would be supervised.
    """
    inputs = {
        "trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES)),
        "selection": run_input(selection, out, ("select",)),
        "model": model_input(config.model, out),
    }
    with start_run(out, "train", config, inputs) as run:
        if run.finished:
            shutil.rmtree(out / RESUME_FOLDER, ignore_errors=True)  # left by a kill right after the end
            return run.manifest
        selections = read_selections(selection, trajectories)
        place = locate_model(config.model)
        if place.holds_adapters:
            raise ModelError(f"{config.model} holds low-rank adapters, not a whole model. Merge them into their base and give the result.")
        renderer = load_renderer(place)
        with show_progress("tokenising", len(selections)) as bar:
            examples = build_examples(read_trajectories(trajectories), selections, renderer, config.max_tokens, bar.advance)
        _check_supervision(examples, config, selection)
        run.write_problems(examples.problems)
        summary = _describe(examples)
        say(
            f"{out}: {len(examples.examples):,} examples, {examples.num_trained_tokens:,} tokens to run, "
            f"{examples.num_supervised_tokens:,} supervised "
            f"({examples.num_supervised_tokens / max(1, examples.num_tokens):.1%} of {examples.num_tokens:,})"
        )
        summary |= _train(run, config, examples, renderer)
        manifest = run.finish(summary)
        shutil.rmtree(out / RESUME_FOLDER, ignore_errors=True)
        return manifest


def _check_supervision(examples: ExampleSet, config: TrainConfig, selection: Path) -> None:
    if not examples.examples:
        reason = examples.problems[0].reason if examples.problems else "no step is selected"
        raise DataError(
            f"no token would be supervised in any of {examples.num_trajectories} trajectories (the first: {reason}), so training would "
            f"learn nothing. Look at {selection}/problems.jsonl, or raise max_tokens above {config.max_tokens}."
        )
    if not round(config.epochs * len(examples.examples)):
        raise ConfigError(f"epochs={config.epochs} of {len(examples.examples)} examples is not one example. Raise epochs.")


def _describe(examples: ExampleSet) -> dict[str, Any]:
    return {
        "num_trajectories": examples.num_trajectories,
        "num_examples": len(examples.examples),
        "num_left_out": len({problem.item for problem in examples.problems} - {example.trajectory_id for example in examples.examples}),
        "num_tokens": examples.num_tokens,
        "num_trained_tokens": examples.num_trained_tokens,
        "num_supervised_tokens": examples.num_supervised_tokens,
        "num_steps": examples.num_steps,
        "num_supervised_steps": examples.num_supervised_steps,
        "num_dropped_steps": examples.num_dropped_steps,
    }


def _train(run: Run, config: TrainConfig, examples: ExampleSet, renderer: Any) -> dict[str, Any]:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the Trainer forks; the tokenizer's threads must not
    transformers = import_transformers()
    from atlas.training.choose_parts import choose_parts
    from atlas.training.follower import RunFollower
    from atlas.training.trainer import CriticalStepTrainer, ScheduledExamples, collate

    precision = resolve_precision(config.precision)
    transformers.set_seed(config.seed)
    # bf16 keeps float32 weights and computes under autocast: updates of 1e-5 vanish in bf16 weights. Adapters leave the base in bf16.
    place = locate_model(config.model)
    model = load_model(place, "bfloat16" if precision == "bf16" and config.lora else "float32")
    if config.lora:
        model = _add_adapters(model, config.lora)
    num_steps = -(-round(config.epochs * len(examples.examples)) // config.batch_size)
    arguments = transformers.TrainingArguments(
        output_dir=str(run.path / RESUME_FOLDER),
        num_train_epochs=1,  # the schedule below holds all epochs
        per_device_train_batch_size=config.batch_size,  # an optimiser step: the Trainer below cuts it
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler,
        warmup_steps=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=precision == "bf16",
        activation_checkpointing=config.gradient_checkpointing,
        logging_steps=config.log_every,
        save_steps=config.save_every,
        save_total_limit=2,
        seed=config.seed,
        data_seed=config.seed,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=list(config.report_to) or "none",
        use_cpu=model.device.type == "cpu",
        dataloader_pin_memory=model.device.type != "cpu",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # DataParallel over all GPUs in sight would multiply batch_size in silence
    order = schedule_examples(examples.examples, config.epochs, config.batch_size, config.seed)
    chosen = choose_parts(model, config.engine, config.gradient_window)
    for part, reason in chosen.left_out.items():
        say(f"engine.{part} is not used: {reason}")
    started = time.monotonic()
    with show_progress("training", num_steps) as bar:
        trainer = CriticalStepTrainer(
            model=model,
            args=arguments,
            train_dataset=ScheduledExamples(examples.examples, order),
            data_collator=collate,
            callbacks=[RunFollower(run.path, bar)],
            engine=chosen.engine,
            max_tokens=config.engine.micro_batch_tokens,
            max_examples=config.micro_batch_size,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        with _full_disk_is_an_os_error(run.path):
            trainer.train(resume_from_checkpoint=_newest_state(run.path / RESUME_FOLDER))
    parts = chosen.engine.parts
    chosen.engine.put_in(())
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    with _full_disk_is_an_os_error(run.path):
        _save_checkpoint(run.path, trainer.model, renderer.tokenizer)
    return {
        "optimizer_steps": trainer.state.global_step,
        "final_loss": round(sum(losses[-10:]) / max(1, len(losses[-10:])), 4),
        "train_seconds": round(time.monotonic() - started, 1),
        "precision": precision,
        "engine": " ".join(parts) or "plain",
        "num_parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
    }


def _add_adapters(model: Any, lora: LoraConfig) -> Any:
    try:
        import peft
    except ImportError:
        raise DependencyError("peft", "lora") from None
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    return peft.get_peft_model(
        model,
        peft.LoraConfig(task_type="CAUSAL_LM", r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets),
    )


@contextmanager
def _full_disk_is_an_os_error(folder: Path) -> Iterator[None]:
    """safetensors and torch name a full disk each in their own way, torch not even as such."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if "No space left" in str(error) or shutil.disk_usage(folder).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _newest_state(folder: Path) -> str | None:
    """The newest state that was written whole: the Trainer writes trainer_state.json last."""
    states = [state for state in folder.glob("checkpoint-*") if _is_whole(state / "trainer_state.json")]
    return str(max(states, key=lambda state: int(state.name.split("-")[1]))) if states else None


def _is_whole(state: Path) -> bool:
    try:
        json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _save_checkpoint(folder: Path, model: Any, tokenizer: Any) -> None:
    """Model and tokenizer as safetensors, whole or not at all."""
    temporary, final = folder / f"{CHECKPOINT_FOLDER}.partial", folder / CHECKPOINT_FOLDER
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
