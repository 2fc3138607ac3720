"""trajectories + selection -> what training on them would cost, and what it would train: nothing is trained, nothing written."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from atlas.models.local.load import load_renderer, locate_model, resolve_precision
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.store.readers import read_selections, read_trajectories
from atlas.training.check_model import check_tokens, read_model_settings
from atlas.training.config import TrainConfig
from atlas.training.costs import count_costs, estimate_memory, measure_shape
from atlas.training.examples import build_examples, examples_of_steps, schedule_examples


def print_training_plan(
    console: Console, config: TrainConfig, trajectories: Path, selection: Path
) -> None:
    """Examples, supervised tokens, operations with each saving, memory, and the first example with its mask.

    Raises:
        RunError: a run folder is missing, unfinished, or the selection is not of these trajectories.
        DataError: a selected step has no weight where it should have one.
        ModelError: the model has no config, no tokenizer or no usable chat template.
    """
    place = locate_model(config.model)
    settings = read_model_settings(place)
    renderer = load_renderer(place)
    built = build_examples(
        read_trajectories(trajectories), read_selections(selection, trajectories), renderer, config
    )
    for note in renderer.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    share = built.num_supervised_tokens / max(1, built.num_tokens)
    console.print(
        f"examples:    {len(built.examples):,} of {built.num_trajectories:,} trajectories; {built.num_supervised_steps:,} of "
        f"{built.num_steps:,} steps supervised, {built.num_dropped_steps:,} dropped beyond {config.max_tokens:,} tokens"
        + (
            f", {built.num_cut_observations:,} observations cut"
            if config.truncation == "cut_observations"
            else ""
        ),
        soft_wrap=True,
    )
    console.print(
        f"tokens:      {built.num_tokens:,}, of them {built.num_supervised_tokens:,} supervised ({share:.1%})"
    )
    weighed = "" if config.step_weights == "none" else f", steps weighed by {config.step_weights}"
    held = (
        f"; KL to the base model at {built.num_anchored_tokens:,} tokens, times {config.kl_weight:g}"
        if config.kl_weight
        else ""
    )
    console.print(f"loss:        mean over {config.loss_normalizer}{weighed}{held}")
    if not built.examples:
        console.print(
            f"no token would be supervised: training would stop here. Raise max_tokens ({config.max_tokens:,}), or look at what was "
            f"selected: atlas show {trajectories} --selection {selection}",
            soft_wrap=True,
            markup=False,
        )
        return
    check_tokens(settings, built, config.model)
    order = schedule_examples(built.by_trajectory, config.epochs, config.batch_size, config.seed)
    steps = examples_of_steps(built.by_trajectory, order, config.batch_size)
    precision = resolve_precision(config.precision)
    shape = measure_shape(place.location, config)
    console.print(
        f"steps:       {len(steps):,} optimiser steps of up to {config.batch_size} trajectories, {precision}"
    )
    console.print(
        f"model:       {shape.num_parameters:,} parameters, {shape.num_layers} layers of width {shape.hidden:,}"
    )
    table = Table(
        "computed",
        Column("tokens", justify="right"),
        Column("FLOPs", justify="right"),
        Column("share", justify="right"),
        box=None,
    )
    costs = count_costs(shape, config, steps)
    for cost in costs:
        is_off = cost.setting is not None and not getattr(config.engine, cost.setting)
        name = f"+ {cost.name}{' (off)' if is_off else ''}" if cost is not costs[0] else cost.name
        table.add_row(
            name,
            f"{cost.num_tokens:,}",
            f"{cost.operations:.3g}",
            f"{cost.operations / costs[0].operations:.2f}",
        )
    console.print(table)
    memory = estimate_memory(shape, config, steps, precision)
    parts = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in memory.items())
    console.print(
        f"memory:      about {sum(memory.values()) / 2**30:.2f} GiB ({parts})", soft_wrap=True
    )
    first = built.examples[0]
    console.print(
        f"\nthe first example, {first.trajectory_id}, supervised between ⟦ and ⟧:", markup=False
    )
    console.print(
        color_tokens(renderer.tokenizer, first.input_ids, first.labels != IGNORED_LABEL),
        soft_wrap=True,
    )
    if first.num_tail_tokens:
        console.print(
            f"({first.num_tail_tokens:,} tokens after the last one with loss are not run)"
        )
