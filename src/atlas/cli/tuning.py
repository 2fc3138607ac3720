"""Commands that tune, play and compare."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from atlas.cli.app import Out, Settings, Trajectories, app, read_config, split_settings
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


@app.command()
def demo(
    settings: Settings = None,
    out: Annotated[
        Path, typer.Option("--out", help="The folder of all runs; run again to go on.")
    ] = Path("runs/demo"),
) -> None:
    """Run a whole comparison: collect, select, train each arm, evaluate, report."""
    from rich.console import Console
    from rich.markup import escape

    from atlas.experiments.plan_experiment import ExperimentConfig, plan_experiment
    from atlas.experiments.run_stages import run_stages
    from atlas.reporting.report import Report
    from atlas.reporting.tables import format_main_table

    recipe, overrides = split_settings(settings)
    recipe = recipe or Path("recipes/demo/babyai.yaml")
    config = read_config(ExperimentConfig, [str(recipe), *overrides], {})
    stages = plan_experiment(config, out, str(recipe))
    console = Console()
    kinds = Counter(stage.title.partition(":")[0].partition(" ")[0] for stage in stages)
    parts = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    finished = sum(stage.is_finished for stage in stages)
    console.print(
        f"[bold]{escape(str(recipe))}[/]: {len(stages)} stages ({parts}), {config.processes} at a time, into {escape(str(out))}; "
        f"{finished} are finished and skipped, Ctrl-C is safe"
    )
    for number, (stage, manifest) in enumerate(run_stages(stages, config.processes), start=1):
        console.print(
            f"{number:3}/{len(stages)}  {escape(stage.title):40} {manifest.wall_seconds:7.1f} s  [dim]{escape(str(stage.out))}[/]",
            highlight=False,
        )
    console.print()
    console.print(
        format_main_table(Report.model_validate_json((stages[-1].out / "report.json").read_bytes()))
    )
    console.print(
        f"\nreport: {(stages[-1].out / 'report.html').resolve()}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
