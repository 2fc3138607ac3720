"""Commands that select critical steps, compare selections, and export them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from atlas.cli.app import (
    LISTED,
    SELECTION_HELP,
    TRAJECTORIES_HELP,
    DryRun,
    Out,
    Selection,
    Settings,
    Trajectories,
    app,
    fail,
    option,
    plain_console,
    read_config,
)
from atlas.cli.closing_lines import left_out, place_of, say, tell, tell_estimate, tell_pilot
from atlas.errors import ConfigError, MismatchError

SELECTOR_HELP = (
    "A row of the table of selectors (docs/commands/select.md has the list), or "
    "package.module:Class."
)
PILOT_HELP = (
    "Ask about a few trajectories (pilot_size), and print what the others will cost. The same "
    "command without --pilot asks about the others."
)
DIALECT_HELP = (
    "The trainer's data format: openai, axolotl, ms-swift, llamafactory, trl, torchtune, tinker, "
    "verl, agenttraj, renderers, last-turn, parquet, or package.module:Dialect."
)
CHECK_HELP = (
    "Read the file again (write it first, if it is missing) and compare its supervised tokens."
)
EXPLAIN_HELP = "Print the dialect's notes: settings, versions checked, what the trainer does wrong."


@app.command()
def select(
    trajectories: Trajectories,
    out: Out,
    settings: Settings = None,
    selector: Annotated[str | None, option("--selector", SELECTOR_HELP)] = None,
    dry_run: DryRun = False,
    pilot: Annotated[bool, typer.Option("--pilot", help=PILOT_HELP)] = False,
) -> None:
    """Find the critical steps of each trajectory, under a budget.

    Settings of the command and of the selector are both written key=value, for example
    `atlas select --selector oracle ratio=0.3 model=openai/gpt-4o max_cost_usd=5 …`.
    """
    from atlas.selection.estimate_cost import estimate_cost
    from atlas.selection.pilot import run_pilot
    from atlas.selection.plan_selection import plan_selection
    from atlas.selection.select_steps import SelectConfig, select_steps

    config = read_config(SelectConfig, settings, is_run=not dry_run, selector=selector)
    if dry_run and (plan := plan_selection(config, trajectories, out)) is not None:
        for line in plan:
            say(line)
    elif dry_run:
        tell_estimate(estimate_cost(config, trajectories, out), config.selector.settings)
    elif pilot:
        found = run_pilot(config, trajectories, out)
        tell_pilot(found, config.selector.settings, "the same command without --pilot")
    else:
        tell(select_steps(config, trajectories, out), out)


@app.command("select-train")
def select_train(
    trajectories: Trajectories, selection: Selection, out: Out, settings: Settings = None
) -> None:
    """Train a small local selector on labels (a selection), and measure it on held-out tasks."""
    from atlas.selection.learned.train_selector import SelectTrainConfig, train_selector

    config = read_config(SelectTrainConfig, settings)
    tell(train_selector(config, trajectories, selection, out), out)


@app.command("compare-selections")
def compare_selections(
    runs: Annotated[
        list[str],
        typer.Argument(
            help=f"Run folders of select, and key=value settings. {LISTED}",
            metavar="RUN… [KEY=VALUE]…",
        ),
    ],
    out: Out,
    tokenizer: Annotated[
        str | None,
        option("--tokenizer", "Count supervised tokens of this model instead of characters."),
    ] = None,
) -> None:
    """Show how far selections agree beyond chance, by kind and by position."""
    from atlas.reporting.selections import compare_selections as comparing
    from atlas.reporting.selections.selection_tables import print_comparison

    settings = [given for given in runs if "=" in given and not Path(given).exists()]
    options: dict[str, Any] = {
        "selections": [given for given in runs if given not in settings],
        "tokenizer": tokenizer,
    }
    config = read_config(comparing.CompareConfig, settings, **options)
    manifest = comparing.compare_selections(config, out)
    print_comparison(plain_console(), comparing.read_comparison(out))
    tell(manifest, out)


@app.command()
def export(
    settings: Settings = None,
    to: Annotated[str | None, option("--to", DIALECT_HELP)] = None,
    trajectories: Annotated[Path | None, option("--trajectories", TRAJECTORIES_HELP)] = None,
    selection: Annotated[Path | None, option("--selection", SELECTION_HELP)] = None,
    out: Annotated[
        Path | None, option("--out", "The file to write: .jsonl, .json or .parquet, by dialect.")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="For trl and --check: a hub id, a model folder, or a run folder of train."
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help=CHECK_HELP)] = False,
    explain: Annotated[bool, typer.Option("--explain", help=EXPLAIN_HELP)] = False,
) -> None:
    """Hand a selection to another trainer, in its own data format. Start with --to NAME --explain.

    Settings of the dialect are key=value, for example --to trl max_tokens=4096.
    """
    from atlas.exporting.check_export import check_export
    from atlas.exporting.explain import describe_export, explain_dialect
    from atlas.exporting.export_selection import PROBLEMS_ENDING, ExportConfig, export_selection
    from atlas.models.local.load import load_renderer_named

    options: dict[str, Any] = {"dialect": to, "tokenizer": tokenizer}
    config = read_config(ExportConfig, settings, is_run=not explain, **options)
    if explain:
        say(explain_dialect(config.dialect.name, out))
        return
    if trajectories is None or selection is None or out is None:
        raise ConfigError(
            "export needs --trajectories RUN --selection RUN --out FILE (or only --explain, to "
            "read about the dialect)."
        )
    if check and config.tokenizer is None:
        raise ConfigError(
            "--check compares tokens, so it needs a tokenizer. Give --tokenizer with the name of "
            "the model to be trained."
        )
    renderer = load_renderer_named(config.tokenizer, config.chat_template)
    told: list[str] = []
    if not (check and out.exists()):
        manifest = export_selection(config, trajectories, selection, out, renderer)
        inputs = manifest.inputs.items()
        came_in = [f"{name} {place_of(out.parent, given)}" for name, given in inputs]
        problems = out.with_name(out.name + PROBLEMS_ENDING)
        say(describe_export(manifest, out, came_in, left_out(problems)))
        told = manifest.summary.get("notes", [])
    if check and renderer is not None:
        try:
            checked = check_export(config, trajectories, selection, out, renderer)
        except MismatchError as error:
            fail(f"error: {error}", 1)
        say(f"checked:   {checked} under {config.tokenizer}")
        for note in checked.notes:
            if note not in told:
                say(f"note:      {note}")
