"""The command that runs an experiment: several stages from one recipe."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

from atlas.cli.app import DryRun, Settings, app, option, read_config, split_settings
from atlas.errors import ConfigError


@app.command()
def run(
    settings: Settings = None,
    out: Annotated[
        Path | None,
        option("--out", "The folder of all run folders, by default runs/NAME-OF-THE-RECIPE."),
    ] = None,
    dry_run: DryRun = False,
    pilot: Annotated[
        Path | None,
        option("--pilot", "The folder of a smaller experiment, whose stages give the times."),
    ] = None,
) -> None:
    """Run an experiment from a recipe: collect, select, train and evaluate each arm, report."""
    from atlas.cli.exit_status import exit_if_nothing_worked
    from atlas.experiments.config import ExperimentConfig
    from atlas.experiments.estimate_time import estimate_time
    from atlas.experiments.plan_experiment import plan_experiment
    from atlas.experiments.registration import read_registration, register_design
    from atlas.experiments.run_stages import run_stages
    from atlas.experiments.tell_costs import tell_costs
    from atlas.experiments.tell_registration import tell_registration
    from atlas.experiments.tell_time import tell_time, time_left, time_table
    from atlas.experiments.tell_work import tell_work
    from atlas.presenting.table import terminal_table
    from atlas.reporting.page.tables import format_main_table
    from atlas.reporting.read_report import read_report
    from atlas.terminal.console import SafeConsole
    from atlas.terminal.visible_text import print_text, print_whole, visible

    recipe, _ = split_settings(settings)
    if recipe is None:
        raise ConfigError(
            "atlas run needs a recipe, for example: atlas run recipes/demo/babyai.yaml"
        )
    config = read_config(ExperimentConfig, settings)
    folder = out or Path("runs") / recipe.stem
    plan = plan_experiment(config, folder, str(recipe))
    stages = plan.stages
    console = SafeConsole()

    def line(text: str) -> None:
        # Names of arms and splits come from the recipe.
        print_text(console, visible(text))

    finished = {stage.out for stage in stages if stage.is_finished}
    counts = Counter(stage.title.partition(":")[0].partition(" ")[0] for stage in stages)
    parts = ", ".join(f"{name} {count}" for name, count in counts.items())
    line(
        f"{recipe}: {len(stages)} stages ({parts}), {config.processes} at a time, into {folder}; "
        f"{len(finished)} are finished. Ctrl-C is safe."
    )
    if dry_run:
        times = estimate_time(stages, folder, pilot)
        print_whole(console, terminal_table(time_table(times)))
        costs = (*tell_work(config, plan), *tell_costs(stages))
        told = tell_registration(plan, read_registration(folder))
        missing = [f"WARNING: missing here. {text}" for text in plan.missing()]
        changed = [f"WARNING: made with other settings. {text}" for text in plan.changed()]
        for text in (*costs, *tell_time(times, config.processes), *told, *missing, *changed):
            line(text)
        return
    plan.require_installed()
    # A change that is refused is not registered.
    plan.require_unchanged()
    for text in tell_registration(plan, register_design(folder, plan.design)):
        line(text)
    done = []
    for number, (stage, manifest) in enumerate(run_stages(stages, config.processes), start=1):
        done.append((manifest, stage.out))
        seconds = f"{manifest.wall_seconds:7.1f} s"
        line(f"{number:3}/{len(stages)}  {stage.title:40} {seconds}  {stage.out}")
        is_new = stage.out not in finished
        if is_new and number < len(stages):
            line(f"     {time_left(estimate_time(stages, folder, pilot), config.processes)}")
    report = stages[-1].out
    console.print()
    print_whole(console, format_main_table(read_report(report)))
    line(f"\nreport:   {(report / 'report.html').resolve()}")
    if (page := plan.episodes_page) is not None:
        line(f"episodes: {page.resolve()}")
    line(f"look at everything, and label steps: atlas view {shlex.quote(str(folder))}")
    exit_if_nothing_worked(done)
