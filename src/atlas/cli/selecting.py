"""Commands that find critical steps, compare ways of finding them, and hand them to other trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.app import Out, Settings, Trajectories, app, fail, read_config
from atlas.cli.closing_lines import left_out, place_of, say, tell, tell_estimate
from atlas.errors import ConfigError, MismatchError


@app.command()
def select(
    trajectories: Trajectories,
    out: Out,
    settings: Settings = None,
    selector: Annotated[
        str | None,
        typer.Option(
            help="A row of the table of selectors (docs/commands/select.md has the list), or package.module:Selector."
        ),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            help="The share of a trajectory's steps that may be selected (the paper: 0.3)."
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            help="Whose steps the ratio is of: trajectory, or dataset (the best of all, for selectors with scores)."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Drives the selectors that draw.")] = None,
    of: Annotated[
        list[Path] | None,
        typer.Option(
            help="A selection run: for complement the one to take the complement of, for vote each that votes."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model that is asked or run; for learned: a run of select-train."),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Any OpenAI-compatible endpoint; for perplexity, entropy, excess-loss one that scores prompts."
        ),
    ] = None,
    batch: Annotated[
        bool | None,
        typer.Option(
            "--batch", help="For oracle and rejection: ask through the provider's batch endpoint."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be asked and what it would cost, and send nothing."
        ),
    ] = False,
    max_cost: Annotated[
        float | None,
        typer.Option(help="Ask nothing that, as estimated, could cost more than that many USD."),
    ] = None,
    retry_problems: Annotated[
        Path | None,
        typer.Option(
            help="An earlier run of the same selector: keep its selections, ask for its problems alone."
        ),
    ] = None,
) -> None:
    """Find the critical steps of each trajectory, under a budget."""
    from atlas.selection.costs import estimate_cost
    from atlas.selection.select_steps import SelectConfig, select_steps

    given = {
        "selector": selector,
        "ratio": ratio,
        "scope": scope,
        "seed": seed,
        "of": [str(run) for run in of or ()] or None,
        "model": model,
        "base_url": base_url,
        "batch": batch,
        "max_cost_usd": max_cost,
        "retry_problems_of": retry_problems and str(retry_problems),
    }
    config = read_config(SelectConfig, settings, given)
    if dry_run:
        tell_estimate(estimate_cost(config, trajectories, out), config)
        return
    tell(select_steps(config, trajectories, out), out)


@app.command("select-train")
def select_train(
    trajectories: Trajectories,
    selection: Annotated[
        Path,
        typer.Option(
            "--selection",
            help="The labels: a run folder of select, made from these trajectories.",
            show_default=False,
        ),
    ],
    out: Out,
    settings: Settings = None,
    seed: Annotated[
        int | None, typer.Option(help="Which tasks are held out to measure on.")
    ] = None,
) -> None:
    """Distil labels into a small local selector, and say how far it agrees with them on held-out tasks."""
    from atlas.selection.learned.train_selector import SelectTrainConfig, train_selector

    tell(
        train_selector(
            read_config(SelectTrainConfig, settings, {"seed": seed}), trajectories, selection, out
        ),
        out,
    )


@app.command("compare-selections")
def compare_selections(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run folders of select, and key=value settings.", metavar="RUN… [KEY=VALUE]…"
        ),
    ],
    out: Out,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Count supervised tokens of this model instead of characters."),
    ] = None,
) -> None:
    """Show how far selections of the same trajectories agree, beyond chance, by kind and by position."""
    from rich.console import Console

    from atlas.reporting.selections.compare_selections import (
        CompareConfig,
        compare_selections,
        read_comparison,
    )
    from atlas.reporting.selections.comparison_text import print_comparison

    settings = [given for given in runs if "=" in given and not Path(given).exists()]
    selections = [given for given in runs if given not in settings]
    manifest = compare_selections(
        read_config(CompareConfig, settings, {"selections": selections, "tokenizer": tokenizer}),
        out,
    )
    print_comparison(Console(highlight=False), read_comparison(out))
    tell(manifest, out)


@app.command()
def export(
    to: Annotated[
        str,
        typer.Option(
            help="openai, axolotl, ms-swift, llamafactory, trl, torchtune, tinker, verl, agenttraj, renderers, last-turn, parquet, "
            "or package.module:Dialect.",
            show_default=False,
        ),
    ],
    trajectories: Annotated[
        Path | None,
        typer.Option("--trajectories", help="A run folder of collect, import or evaluate."),
    ] = None,
    selection: Annotated[
        Path | None,
        typer.Option("--selection", help="A run folder of select, made from these trajectories."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write: .jsonl, .json or .parquet, by dialect."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="For trl and --check: a hub id, a model folder, or a run folder of train."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="For trl: cut longer sequences, leaving out steps that no longer fit."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Read the file again (write it first, if there is none) and compare its supervised tokens.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Print the dialect's notes: settings, versions checked, what the trainer does wrong.",
        ),
    ] = False,
) -> None:
    """Hand a selection to another trainer, in its own data format. Start with --to NAME --explain."""
    from atlas.exporting.check_export import check_export
    from atlas.exporting.explain import describe_export, explain_dialect
    from atlas.exporting.export_selection import PROBLEMS_ENDING, ExportConfig, export_selection
    from atlas.models.local.load import load_renderer_named

    if explain:
        typer.echo(explain_dialect(to, out))
        return
    if trajectories is None or selection is None or out is None:
        raise ConfigError(
            "export needs --trajectories RUN --selection RUN --out FILE (or --explain alone, to read about the dialect)."
        )
    config = read_config(
        ExportConfig, None, {"to": to, "tokenizer": tokenizer, "max_tokens": max_tokens}
    )
    if check and tokenizer is None:
        raise ConfigError(
            "--check compares tokens, so it needs a tokenizer. Give --tokenizer with the name of the model to be trained."
        )
    renderer = load_renderer_named(tokenizer)
    if not (check and out.exists()):
        manifest = export_selection(config, trajectories, selection, out, renderer)
        came_in = [
            f"{name} {place_of(out.parent, given)}" for name, given in manifest.inputs.items()
        ]
        say(
            describe_export(
                manifest, out, came_in, left_out(out.with_name(out.name + PROBLEMS_ENDING))
            )
        )
    if check and renderer is not None:
        try:
            checked = check_export(config, trajectories, selection, out, renderer)
        except MismatchError as error:
            fail(f"error: {error}", 1)
        typer.echo(f"checked:   {checked} under {tokenizer}")
