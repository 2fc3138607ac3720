"""Commands that bring trajectories in and look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.app import Out, Settings, app, read_config
from atlas.cli.closing_lines import say, tell
from atlas.errors import ConfigError


@app.command()
def collect(
    out: Out,
    settings: Settings = None,
    env: Annotated[
        str | None,
        typer.Option("--env", help="A row of the table of environments, or package.module:Class."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which tasks: train, held_in_test, held_out_test.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="How many tasks, one episode each.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Which tasks of the split, and the expert's random choices."),
    ] = None,
) -> None:
    """Let the expert of an environment play, and keep its trajectories."""
    from atlas.trajectories.collect_experts import CollectConfig, collect_experts

    config = read_config(
        CollectConfig,
        settings,
        {"environment": env, "split": split, "episodes": episodes, "seed": seed},
    )
    tell(collect_experts(config, out), out)


@app.command("import")
def import_(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, run folders, patterns; - is standard input.", show_default=False
        ),
    ],
    out: Out,
    format: Annotated[
        str | None, typer.Option(help="A row of the table of formats, or package.module:Format.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first row that is no trajectory.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Outcome to keep: success, failure, truncated, error, unknown."),
    ] = None,
    min_steps: Annotated[
        int | None, typer.Option(help="Leave out trajectories with fewer steps.", min=0)
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Leave out trajectories with more steps.", min=0)
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="What to keep: task~babyai, status!=error (fields as in the docs; = != ~)."
        ),
    ] = None,
    keep_duplicates: Annotated[
        bool,
        typer.Option("--keep-duplicates", help="Keep exact duplicates, under ids of their own."),
    ] = False,
    tokenizer: Annotated[
        str | None, typer.Option(help="A model whose tokenizer counts tokens by role.")
    ] = None,
) -> None:
    """Read trajectories that you have, in whatever format they are, and say what was found and what was left out."""
    from rich.console import Console

    from atlas.trajectories.import_report import print_import
    from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

    read = {
        "paths": paths,
        "format": format,
        "strict": strict,
        "keep_duplicates": keep_duplicates,
        "tokenizer": tokenizer,
    }
    keep = {"only": only, "where": where, "min_steps": min_steps, "max_steps": max_steps}
    config = read_config(ImportConfig, None, read | keep)
    print_import(import_trajectories(config, out), out, Console(highlight=False))


@app.command()
def show(
    run: Annotated[
        Path,
        typer.Argument(help="A run folder of collect, import or evaluate.", show_default=False),
    ],
    trajectory: Annotated[
        str | None,
        typer.Option(
            "--trajectory", help="An id or its beginning; without it, a list of the first."
        ),
    ] = None,
    selection: Annotated[
        Path | None,
        typer.Option(
            "--selection", help="A run folder of select, to highlight its critical steps."
        ),
    ] = None,
    tokens: Annotated[
        bool,
        typer.Option(
            "--tokens", help="Show every token, supervised or not, with counts and warnings."
        ),
    ] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="For --tokens: a hub id, a model folder, or a run folder of train."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="For --tokens: cut the sequence there, as training would.")
    ] = None,
) -> None:
    """Show a trajectory in the terminal, before training on it."""
    from rich.console import Console

    from atlas.models.local.load import load_renderer_named
    from atlas.viewing.terminal.show import show_trajectories, show_trajectory

    if tokens != (tokenizer is not None):
        raise ConfigError(
            "--tokens and --tokenizer NAME go together: the tokens are those of the model to train."
        )
    console = Console(highlight=False)
    if trajectory is None:
        if tokens:
            raise ConfigError(
                "--tokens shows one trajectory, so it needs --trajectory ID. "
                "Leave both out to see the ids."
            )
        show_trajectories(console, run, selection)
        return
    show_trajectory(console, run, trajectory, selection, load_renderer_named(tokenizer), max_tokens)


@app.command()
def label(
    run: Annotated[
        Path,
        typer.Argument(help="A run folder of collect, import or evaluate.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The file of labels (.jsonl) to write or to continue.",
            show_default=False,
        ),
    ],
    annotator: Annotated[str, typer.Option(help="The name of the person who labels.")] = "unnamed",
    trajectory: Annotated[
        str | None, typer.Option("--trajectory", help="Only this one: an id or its beginning.")
    ] = None,
) -> None:
    """Mark critical steps by hand: read a trajectory, then press one key for each step."""
    from rich.console import Console

    from atlas.viewing.terminal.label import label_trajectories

    num_finished = label_trajectories(Console(highlight=False), run, out, annotator, trajectory)
    use = (
        f"Use them: atlas select --trajectories {run} --selector annotated labels={out} --out RUN"
        if out.exists()
        else "The file is written once a whole trajectory is labeled"
    )
    say(f"out:       {out}: {num_finished} trajectories more, by {annotator}. {use}")
