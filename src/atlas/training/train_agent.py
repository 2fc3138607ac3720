"""trajectories + selection -> checkpoint, with the whole trajectory as context of the loss."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from atlas.config import StrPath
from atlas.errors import ConfigError, DataError
from atlas.models.local.load import (
    ModelPlace,
    load_renderer,
    locate_model,
    model_input,
    rendering_inputs,
)
from atlas.presenting.action_types import ACTION_TYPES
from atlas.presenting.outcome_shares import BY_OUTCOME, LAST_STEPS, selection_notes
from atlas.rendering.renderer import Renderer
from atlas.store.readers import TRAJECTORY_FILES, limits_of, read_selected
from atlas.store.run_folders import Input, Manifest, Run, read_manifest, run_input, start_run
from atlas.terminal.progress import quiet_unless, say, show_progress
from atlas.training.check_model import check_tokens, read_model_settings
from atlas.training.checkpoint import RESUME_FOLDER, full_disk_is_an_os_error, save_checkpoint
from atlas.training.config import LoraConfig, TrainConfig
from atlas.training.examples import (
    ExampleSet,
    build_examples,
    check_empty_steps,
    problem_of_held_out,
)
from atlas.training.model_card import write_card
from atlas.training.negative_weights import warn_of_negative_weights
from atlas.training.push_to_hub import check_push, push_checkpoint
from atlas.training.ranks import Ranks, meet_ranks
from atlas.training.schedule import schedule_examples

__all__ = ["LoraConfig", "TrainConfig", "train_agent"]
# Counts of an ExampleSet that the summary reports.
COUNTS = (
    "num_tokens",
    "num_trained_tokens",
    "num_supervised_tokens",
    "num_steps",
    "num_supervised_steps",
    "num_dropped_steps",
    "num_cut_observations",
)


def train_agent(
    config: TrainConfig,
    trajectories: StrPath,
    selection: StrPath,
    out: StrPath,
    *,
    shared_choices: StrPath | None = None,
    registration: str | None = None,
) -> Manifest:
    """Tune `config.model` on the selected steps of `trajectories` into `out/checkpoint/`.

    Under torchrun or accelerate launch every process calls it with the same arguments, and all get
    the same manifest.

    Args:
        shared_choices: the folder of what is chosen once for all runs that are compared, such as
            what `precision: auto` stands for.
        registration: the digest of the design that was registered before, for the manifest.

    Raises:
        RunError: a run folder is missing or unfinished, or the selection was made from other
            trajectories.
        ModelError: the model cannot be loaded or has no usable chat template.
        DataError: no token would be supervised, or a selected step lacks its weight.
        HubError: the run is finished, and the hub refused its checkpoint.
    """
    trajectories, selection, out = map(Path, (trajectories, selection, out))
    choices = None if shared_choices is None else Path(shared_choices)
    with meet_ranks() as ranks, ranks.reporting_once(), ExitStack() as stack:
        inputs = ranks.together(lambda: _check(config, trajectories, selection, out, ranks))
        start = partial(start_run, out, "train", config, inputs, registration=registration)
        run = ranks.on_first(lambda: stack.enter_context(start()))
        manifest = ranks.of_first(lambda: run.manifest if run else None)
        assert manifest is not None
        if manifest.status != "finished":
            stack.enter_context(quiet_unless(ranks.is_first))
            manifest = _train(config, trajectories, selection, out, ranks, manifest, run, choices)
        if run:
            shutil.rmtree(out / RESUME_FOLDER, ignore_errors=True)
        if config.push_to_hub is not None:
            repository, finished = config.push_to_hub, manifest
            ranks.on_first(lambda: push_checkpoint(out, finished, repository, config.hub_private))
        return manifest


def _check(
    config: TrainConfig, trajectories: Path, selection: Path, out: Path, ranks: Ranks
) -> dict[str, Input]:
    """The inputs of the run, after checks that need nothing loaded."""
    if config.batch_size < ranks.size:
        raise ConfigError(
            f"batch_size={config.batch_size} counts the trajectories of an optimizer step over all "
            f"{ranks.size} processes, expected at least one for each. Raise batch_size, or start "
            "fewer processes."
        )
    if config.push_to_hub is not None:
        check_push(config.push_to_hub)
    return {
        "trajectories": run_input(trajectories, out, tuple(TRAJECTORY_FILES)),
        "selection": run_input(selection, out, ("select",)),
        "model": model_input(config.model, out),
        **rendering_inputs(out, config.chat_template, config.tools),
    }


def _train(
    config: TrainConfig,
    trajectories: Path,
    selection: Path,
    out: Path,
    ranks: Ranks,
    manifest: Manifest,
    run: Run | None,
    shared_choices: Path | None,
) -> Manifest:
    """All of an unfinished run; only rank 0 holds `run`."""
    place = locate_model(config.model)
    settings = ranks.together(lambda: read_model_settings(place))
    # A run that is continued on another day must have the same tokens.
    day = config.date or manifest.day
    read = partial(_read_examples, config, place, trajectories, selection, day)
    examples, renderer = ranks.together(read)
    ranks.on_first(lambda: run.write_problems(examples.problems) if run else None)
    ranks.together(lambda: _check_supervision(examples, config, out))
    ranks.together(lambda: check_empty_steps(examples, renderer, config))
    order = config.epochs, config.batch_size, config.seed
    schedule = ranks.together(lambda: schedule_examples(examples.by_trajectory, *order))
    ranks.together(lambda: check_tokens(settings, examples, config.model))
    limits = limits_of(selection, trajectories)
    unwritten = examples.unwritten.notes(renderer, "selected steps")
    negative = warn_of_negative_weights(examples, config)
    for note in (*renderer.notes, *limits, *unwritten, *negative):
        say(note)
    if config.held_out:
        say(
            f"{out}: {examples.num_held_out:,} of "
            f"{examples.num_held_out + examples.num_trajectories:,} trajectories are held out"
        )
    share = examples.num_supervised_tokens / max(1, examples.num_tokens)
    say(
        f"{out}: {len(examples.examples):,} examples, {examples.num_trained_tokens:,} tokens to "
        f"run, {examples.num_supervised_tokens:,} supervised ({share:.1%} of "
        f"{examples.num_tokens:,})"
    )
    selected = read_manifest(selection).summary
    for note in selection_notes(selected, trajectories):
        say(f"note: {note}")
    from atlas.training.tune_model import tune_model

    tuned = tune_model(config, schedule, examples.held_out, out, ranks, shared_choices)
    summary = {
        **_describe(examples, config),
        **tuned.summary,
        "template_digest": _template_digest(renderer),
        **{key: selected[key] for key in (BY_OUTCOME, LAST_STEPS, ACTION_TYPES) if key in selected},
    }
    if limits := limits_of(selection, trajectories):
        summary["limited"] = "; ".join(limits)

    def save() -> Manifest:
        assert run is not None
        inputs = read_manifest(trajectories), read_manifest(selection)
        card = write_card(config, place, manifest, *inputs, examples.sources, summary)
        with full_disk_is_an_os_error(out):
            merges = config.lora is not None and config.lora.merge
            tokenizer = renderer.tokenizer
            save_checkpoint(out, tuned.model, tuned.weights, tokenizer, card, place, merges)
        return run.finish(summary)

    return ranks.of_first(save)


def _read_examples(
    config: TrainConfig,
    place: ModelPlace,
    trajectories: Path,
    selection: Path,
    day: datetime.date | None,
) -> tuple[ExampleSet, Renderer]:
    selected = read_selected(selection, trajectories)
    renderer = load_renderer(place, config.chat_template, day)
    total = read_manifest(selection).summary.get("trajectories")
    with show_progress("tokenizing", total) as bar:
        return build_examples(selected, renderer, config, bar.advance), renderer


def _template_digest(renderer: Renderer) -> str:
    """The chat template that made the tokens: the beginning of its SHA-256."""
    template = renderer.tokenizer.chat_template
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _check_supervision(examples: ExampleSet, config: TrainConfig, out: Path) -> None:
    if problem := problem_of_held_out(examples, config):
        raise DataError(problem)
    if not examples.examples:
        reason = examples.problems[0].reason if examples.problems else "no step is selected"
        raise DataError(
            f"no token would be supervised in any of {examples.num_trajectories} trajectories (the "
            f"first: {reason}), so training would learn nothing. {out}/problems.jsonl has the "
            f"reason of each; if it is length, raise max_tokens above {config.max_tokens}."
        )


def _describe(examples: ExampleSet, config: TrainConfig) -> dict[str, Any]:
    """The summary's counts and how the loss was computed."""
    kept = {example.trajectory_id for example in (*examples.examples, *examples.held_out)}
    summary: dict[str, Any] = {
        "num_trajectories": examples.num_trajectories,
        "num_examples": len(examples.examples),
        "num_left_out": len({problem.item for problem in examples.problems} - kept),
        **{name: getattr(examples, name) for name in COUNTS},
        "loss_normalizer": config.loss_normalizer,
        "step_weights": config.step_weights,
        "objective": config.objective.name,
    }
    if unwritten := examples.unwritten.as_summary():
        summary["num_unwritten"] = unwritten
    if config.held_out:
        summary["num_held_out"] = examples.num_held_out
    if examples.num_negative_steps:
        summary["num_negative_steps"] = examples.num_negative_steps
        summary["negative_weight_share"] = round(examples.negative_share, 4)
        summary["negative_floor"] = config.negative_floor
    if config.kl_weight:
        summary["kl_weight"] = config.kl_weight
        summary["num_anchored_tokens"] = examples.num_anchored_tokens
    return summary
