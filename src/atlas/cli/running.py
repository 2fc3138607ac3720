"""The command that runs an experiment: several stages from one recipe."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.app import Settings, app, read_config, split_settings
from atlas.errors import ConfigError

if TYPE_CHECKING:
    from atlas.experiments.run_stages import Stage


@app.command()
def run(
    settings: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The folder of all run folders, by default runs/NAME-OF-THE-RECIPE.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run an experiment from a recipe: collect, select, train and evaluate each arm, report."""
    from rich.console import Console

    from atlas.experiments.config import ExperimentConfig
    from atlas.experiments.plan_experiment import plan_experiment
    from atlas.experiments.run_stages import run_stages
    from atlas.reporting.report import Report
    from atlas.reporting.tables import format_main_table

    recipe, _ = split_settings(settings)
    if recipe is None:
        raise ConfigError(
            "atlas run needs a recipe, for example: atlas run recipes/demo/babyai.yaml"
        )
    config = read_config(ExperimentConfig, settings, {})
    folder = out or Path("runs") / recipe.stem
    stages = plan_experiment(config, folder, str(recipe))
    console = Console()

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    line(_headline(recipe, folder, stages, config.processes))
    for number, (stage, manifest) in enumerate(run_stages(stages, config.processes), start=1):
        seconds = f"{manifest.wall_seconds:7.1f} s"
        line(f"{number:3}/{len(stages)}  {stage.title:40} {seconds}  {stage.out}")
    report = stages[-1].out
    console.print()
    console.print(
        format_main_table(Report.model_validate_json((report / "report.json").read_bytes()))
    )
    line(f"\nreport: {(report / 'report.html').resolve()}")


def _headline(recipe: Path, folder: Path, stages: list[Stage], processes: int) -> str:
    counts = Counter(stage.title.partition(":")[0].partition(" ")[0] for stage in stages)
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    finished = sum(stage.is_finished for stage in stages)
    return (
        f"{recipe}: {len(stages)} stages ({parts}), {processes} at a time, into {folder}; "
        f"{finished} are finished. Ctrl-C is safe."
    )
