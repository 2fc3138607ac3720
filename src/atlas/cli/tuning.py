"""Commands that tune, play and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.app import Out, Settings, Trajectories, app, read_config
from atlas.cli.closing_lines import tell


@app.command()
def train(
    trajectories: Trajectories,
    selection: Annotated[
        Path,
        typer.Option(
            "--selection",
            help="A run folder of select, made from these trajectories.",
            show_default=False,
        ),
    ],
    out: Out,
    settings: Settings = None,
    model: Annotated[
        str | None, typer.Option(help="A hub id, a model folder, or a run folder of train.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would be trained and what it would cost, and train nothing."
        ),
    ] = False,
) -> None:
    """Tune a model with loss on the selected steps only, the whole trajectory in its context."""
    from atlas.training.ranks import meet_ranks
    from atlas.training.train_agent import TrainConfig, train_agent

    with meet_ranks() as ranks:
        config = ranks.together(lambda: read_config(TrainConfig, settings, {"model": model}))
        if dry_run:
            from rich.console import Console

            from atlas.training.dry_run import print_training_plan

            ranks.on_first(
                lambda: print_training_plan(
                    Console(highlight=False), config, trajectories, selection
                )
            )
            return
        manifest = train_agent(config, trajectories, selection, out)
        if ranks.is_first:
            tell(manifest, out)


@app.command()
def evaluate(
    out: Out,
    settings: Settings = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A hub id, a model folder, a run folder of train; "
            "for --player endpoint the model's name there."
        ),
    ] = None,
    player: Annotated[
        str | None,
        typer.Option(help="Who asks the model: local, endpoint, or package.module:Class."),
    ] = None,
    env: Annotated[
        str | None,
        typer.Option("--env", help="A row of the table of environments, or package.module:Class."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which tasks: held_in_test, held_out_test, train.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="How many tasks, one episode each.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Which tasks, and the random streams when sampling.")
    ] = None,
) -> None:
    """Let a model play in an environment, and measure its success."""
    from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent

    given = {
        "model": model,
        "player": player,
        "environment": env,
        "split": split,
        "episodes": episodes,
        "seed": seed,
    }
    tell(evaluate_agent(read_config(EvaluateConfig, settings, given), out), out)


@app.command()
def report(out: Out, settings: Settings) -> None:
    """Compare arms on one page with intervals. A recipe names their run folders."""
    from atlas.reporting.build_report import build_report
    from atlas.reporting.config import ReportConfig

    tell(build_report(read_config(ReportConfig, settings, {}), out), out)
    typer.echo(f"open:      {out / 'report.html'}")
