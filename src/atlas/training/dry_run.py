"""trajectories + selection -> what training on them would train and cost. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from atlas.config import result_settings
from atlas.models.local.load import load_renderer, locate_model
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.store.readers import limits_of, read_selected
from atlas.store.run_folders import holds_work
from atlas.terminal.visible_text import print_text, print_whole, visible, visible_line
from atlas.training.check_model import check_tokens, read_model_settings
from atlas.training.checkpoint import RESUME_FOLDER
from atlas.training.chosen_precision import choose_precision, kept_precision
from atlas.training.chosen_rows import (
    MemoryOfEach,
    choose_rows,
    memory_of_each,
    problem_of_common_passes,
    problem_of_memory,
    rows_so_far,
    with_own_passes,
    with_rows,
)
from atlas.training.config import EngineConfig, TrainConfig
from atlas.training.costs import (
    Cost,
    count_costs,
    estimate_memory,
    try_smaller_rows,
)
from atlas.training.examples import (
    ExampleSet,
    build_examples,
    check_empty_steps,
    problem_of_held_out,
)
from atlas.training.model_shape import ModelShape, measure_shape
from atlas.training.negative_weights import warn_of_negative_weights
from atlas.training.ranks import Ranks
from atlas.training.rates import rate_factors
from atlas.training.schedule import Schedule, schedule_examples

KEPT = " (chosen when this run was started)"


def print_training_plan(
    console: Console,
    config: TrainConfig,
    trajectories: Path,
    selection: Path,
    out: Path | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Print examples, supervised tokens, operations with each saving, memory and an example.

    Args:
        out: the run folder. What a run there has chosen is shown instead of another choice.
        ranks: processes of the training. All call it, and rank 0 prints.

    Raises:
        RunError: a run folder is missing or unfinished, or the selection was made from other
            trajectories.
        DataError: a selected step lacks the weight that the config names, or is rendered as an end
            of turn only.
        ModelError: the model has no config, no tokenizer or no usable chat template.
    """
    ranks = ranks or Ranks()
    memory = memory_of_each(ranks)
    ranks.on_first(lambda: _print_plan(console, config, trajectories, selection, out, memory))


def _print_plan(
    console: Console,
    config: TrainConfig,
    trajectories: Path,
    selection: Path,
    out: Path | None,
    available: MemoryOfEach,
) -> None:
    def line(text: str) -> None:
        print_text(console, visible(text))

    place = locate_model(config.model)
    settings = read_model_settings(place)
    renderer = load_renderer(place, config.chat_template, config.date)
    built = build_examples(read_selected(selection, trajectories), renderer, config)
    limits = limits_of(selection, trajectories)
    notes = built.unwritten.notes(renderer, "selected steps")
    negative = warn_of_negative_weights(built, config)
    for text in (*renderer.notes, *limits, *_describe(built, config), *notes, *negative):
        line(text)
    if problem := problem_of_held_out(built, config):
        line(f"training would stop here: {problem}")
        return
    if not built.examples:
        line(
            "no token would be supervised: training would stop here. Raise max_tokens "
            f"({config.max_tokens:,}), or look at what was selected: atlas show {trajectories} "
            f"--selection {selection}"
        )
        return
    check_empty_steps(built, renderer, config)
    check_tokens(settings, built, config.model)
    schedule = schedule_examples(built.by_trajectory, config.epochs, config.batch_size, config.seed)
    steps = schedule.examples
    # Without any work, what was chosen is chosen again.
    states = out / RESUME_FOLDER if out is not None and holds_work(out) else None
    precision, reasons = _precision_with_reason(config, place.location, states)
    shape = measure_shape(place.location, config)
    line(
        f"steps:       {len(steps):,} optimizer step{'s' if len(steps) > 1 else ''} of up to "
        f"{config.batch_size} trajectories, {precision}"
    )
    reach = f"; {shape.reach}" if shape.reach else ""
    adapters = f"adapters:    {shape.adapter_weights:,} trained weights{reach}"
    for text in (
        *reasons,
        f"model:       {shape.num_parameters:,} parameters, {shape.num_layers} layers of width "
        f"{shape.hidden:,}",
        *([] if config.lora is None else [adapters]),
    ):
        line(text)
    factor = rate_factors(config, len(steps))
    at_first, at_last = (
        f"{config.learning_rate * factor(step):.3g}" for step in (0, len(steps) - 1)
    )
    rates = f"{at_first} in the first step, at most {config.learning_rate:g}, {at_last} in the last"
    line(f"rate:        {rates if len(steps) > 1 else f'{at_first} in the only step'}")
    if own_pass := problem_of_common_passes(shape, steps):
        line(f"passes:      each sequence has a separate forward pass: {own_pass}")
        config = with_own_passes(config)
    config, reasons = _with_chosen_rows(config, shape, schedule, precision, states, available)
    for text in reasons:
        line(text)
    print_whole(console, _cost_table(count_costs(shape, config, steps), config.engine))
    for text in _memory_lines(shape, config, schedule, precision, available):
        line(text)
    first = built.examples[0]
    line(f"\nthe first example, {visible_line(first.trajectory_id)}, supervised between ⟦ and ⟧:")
    tokens = color_tokens(renderer.tokenizer, first.input_ids, first.labels != IGNORED_LABEL)
    console.print(tokens, soft_wrap=True)
    if first.num_tail_tokens:
        line(f"({first.num_tail_tokens:,} tokens after the last one with loss are not run)")


def _memory_lines(
    shape: ModelShape,
    config: TrainConfig,
    schedule: Schedule,
    precision: str,
    available: MemoryOfEach,
) -> Iterator[str]:
    """The lines about the memory of each process, and what would need less."""
    shares = [share for share in schedule.deal_out(available.num_ranks) if share]
    memory = estimate_memory(shape, config, shares, precision)
    parts = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in memory.items())
    each = " for each process" if available.num_ranks > 1 else ""
    yield f"memory:      about {sum(memory.values()) / 2**30:.2f} GiB{each} ({parts})"
    if problem := problem_of_memory(config, shape, schedule, precision, available):
        yield f"             {problem}"
    for smaller in try_smaller_rows(shape, config, shares, precision):
        yield (
            f"             about {smaller.memory / 2**30:.2f} GiB with engine.micro_batch_tokens="
            f"{smaller.micro_batch_tokens}, for {smaller.more:.0%} more tokens"
        )


def _precision_with_reason(
    config: TrainConfig, location: str, states: Path | None
) -> tuple[str, list[str]]:
    """The precision of the run, and the line about how it was chosen, if it was."""
    kept = kept_precision(states).read() if config.precision == "auto" else None
    chosen = kept or choose_precision(config, location)
    line = f"precision:   {chosen.reason}{KEPT if kept else ''}"
    return chosen.precision, [] if chosen.reason is None else [line]


def _with_chosen_rows(
    config: TrainConfig,
    shape: ModelShape,
    schedule: Schedule,
    precision: str,
    states: Path | None,
    available: MemoryOfEach,
) -> tuple[TrainConfig, list[str]]:
    """The config with the rows of the run, and the line about how they were chosen if they were."""
    is_auto = config.engine.micro_batch_tokens == "auto"
    kept = rows_so_far(states) if is_auto and states is not None else None
    rows = kept or choose_rows(config, shape, schedule, precision, available)
    size = f"of up to {rows.micro_batch_tokens:,} tokens"
    line = f"rows:        {size}: {rows.reason}{KEPT if kept else ''}"
    return with_rows(config, rows.micro_batch_tokens), [] if rows.reason is None else [line]


def _describe(built: ExampleSet, config: TrainConfig) -> list[str]:
    """The lines about examples, tokens and loss."""
    cuts = weighted = held = objective = ""
    if config.truncation == "cut_observations":
        cuts = f", {built.num_cut_observations:,} observations cut"
    if config.step_weights != "none":
        weighted = f", steps weighted by {config.step_weights}"
    if config.objective.name != "none":
        given = result_settings(config.objective.settings).items()
        settings = "".join(f" {name}={value}" for name, value in given)
        objective = f", objective {visible_line(config.objective.name + settings)}"
    if config.kl_weight:
        tokens = f"{built.num_anchored_tokens:,} tokens"
        held = f"; KL to the base model at {tokens}, times {config.kl_weight:g}"
    held_out = f"; {built.num_held_out:,} more held out" if config.held_out else ""
    return [
        f"examples:    {len(built.examples):,} of {built.num_trajectories:,} trajectories; "
        f"{built.num_supervised_steps:,} of {built.num_steps:,} steps supervised, "
        f"{built.num_dropped_steps:,} dropped beyond {config.max_tokens:,} tokens{cuts}"
        f"{held_out}",
        f"tokens:      {built.num_tokens:,}, of them {built.num_supervised_tokens:,} supervised "
        f"({built.num_supervised_tokens / max(1, built.num_tokens):.1%})",
        f"loss:        mean over {config.loss_normalizer}{weighted}{objective}{held}",
    ]


def _cost_table(costs: list[Cost], engine: EngineConfig) -> Table:
    numbers = [Column(name, justify="right") for name in ("tokens", "FLOPs", "share")]
    table = Table("computed", *numbers, box=None)
    for number, cost in enumerate(costs):
        is_off = cost.setting is not None and not getattr(engine, cost.setting)
        table.add_row(
            f"{'+ ' if number else ''}{cost.name}{' (off)' if is_off else ''}",
            f"{cost.num_tokens:,}",
            f"{cost.operations:.3g}",
            f"{cost.operations / costs[0].operations:.2f}",
        )
    return table
