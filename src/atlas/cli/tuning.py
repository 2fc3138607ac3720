"""Commands that tune, play and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from atlas.cli.app import (
    DryRun,
    Environment,
    Model,
    Out,
    Selection,
    Settings,
    Suite,
    Trajectories,
    app,
    names_suite,
    option,
    plain_console,
    read_config,
    split_settings,
)
from atlas.cli.closing_lines import say, tell
from atlas.cli.exit_status import exit_if_nothing_worked
from atlas.cli.served_model import at_server
from atlas.errors import ConfigError

SKILLS_HELP = (
    "Ask standard questions instead (lm-evaluation-harness), to see what tuning did to the model's "
    "other skills."
)
OBJECTIVE_HELP = (
    "What each supervised token counts: none, dft, eaft, eksft, clip, mask_low_probability, or "
    "package.module:Class."
)
RESULTS_HELP = (
    "ARM=PATH, for each arm: results made elsewhere, as a file, a folder or a quoted pattern "
    "(Inspect, Harbor, verifiers, lm-eval, tau-bench, CSV, JSON Lines)."
)
RESULT_FORMAT_HELP = (
    "How results are read: inspect, harbor, verifiers, lm_eval, tau, table, or "
    "package.module:Class. By default the content decides."
)
PLAYER_HELP = "Who asks the model: local, served, endpoint, or package.module:Class."


@app.command()
def train(
    trajectories: Trajectories,
    selection: Selection,
    out: Out,
    settings: Settings = None,
    model: Model = None,
    objective: Annotated[str | None, option("--objective", OBJECTIVE_HELP)] = None,
    dry_run: DryRun = False,
) -> None:
    """Tune a model with loss on the selected steps only, the whole trajectory in its context."""
    from atlas.training.ranks import meet_ranks
    from atlas.training.train_agent import TrainConfig, train_agent

    with meet_ranks() as ranks:
        config = ranks.together(
            lambda: read_config(TrainConfig, settings, model=model, objective=objective)
        )
        if dry_run:
            from atlas.training.dry_run import print_training_plan

            console = plain_console()
            print_training_plan(console, config, trajectories, selection, out, ranks)
            return
        manifest = train_agent(config, trajectories, selection, out)
        if ranks.is_first:
            tell(manifest, out)


@app.command()
def evaluate(
    out: Out,
    settings: Settings = None,
    model: Model = None,
    player: Annotated[str | None, option("--player", PLAYER_HELP)] = None,
    base_url: Annotated[
        str | None,
        option("--base-url", "An OpenAI-compatible server: http://127.0.0.1:8000/v1."),
    ] = None,
    env: Environment = None,
    suite: Suite = None,
    skills: Annotated[bool, typer.Option("--skills", help=SKILLS_HELP)] = False,
) -> None:
    """Let a model play in an environment or in a suite, and measure its success."""
    if skills:
        _evaluate_skills(out, settings, model, [player, base_url, env, suite])
        return
    from atlas.cli.suite_lines import tell_suite
    from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent
    from atlas.evaluation.evaluate_suite import EvaluateSuiteConfig, evaluate_suite

    model, player, settings = at_server(model, player, base_url, settings)
    options: dict[str, Any] = {"model": model, "player": player}
    if names_suite(settings, suite, env):
        given = None if suite is None else {"from": suite}
        config = read_config(EvaluateSuiteConfig, settings, suite=given, **options)
        manifest = evaluate_suite(config, out)
        tell_suite(out)
    else:
        config = read_config(EvaluateConfig, settings, environment=env, **options)
        manifest = evaluate_agent(config, out)
    tell(manifest, out)
    exit_if_nothing_worked([(manifest, out)])


def _evaluate_skills(
    out: Path, settings: list[str] | None, model: str | None, others: list[str | None]
) -> None:
    from atlas.evaluation.evaluate_skills import SkillsConfig, evaluate_skills

    if any(others):
        raise ConfigError(
            "--skills asks a local model questions and plays no episodes. Leave --player, "
            "--base-url, --env and --suite out."
        )
    tell(evaluate_skills(read_config(SkillsConfig, settings, model=model), out), out)


@app.command()
def probe(
    trajectories: Trajectories,
    selection: Selection,
    out: Out,
    settings: Settings = None,
    model: Model = None,
    player: Annotated[str | None, option("--player", PLAYER_HELP)] = None,
    env: Environment = None,
    dry_run: DryRun = False,
) -> None:
    """Let an untuned model take over before and after each selected step, and compare."""
    from atlas.evaluation.probe_steps import ProbeConfig, count_probe, probe_steps

    config = read_config(
        ProbeConfig, settings, is_run=not dry_run, model=model, player=player, environment=env
    )
    if dry_run:
        num, num_steps, num_episodes = count_probe(config, trajectories, selection)
        say(
            f"would play: {num_episodes:,} episodes from before and after {num_steps:,} steps of "
            f"{num:,} trajectories, with {config.model}. Nothing was played."
        )
        return
    manifest = probe_steps(config, trajectories, selection, out)
    tell(manifest, out)
    exit_if_nothing_worked([(manifest, out)])


@app.command()
def report(
    out: Out,
    settings: Settings = None,
    results: Annotated[list[str] | None, option("--results", RESULTS_HELP)] = None,
    format_: Annotated[str | None, option("--format", RESULT_FORMAT_HELP)] = None,
) -> None:
    """Compare arms on one page with intervals: runs of a recipe, or results made elsewhere."""
    from atlas.reporting.build_report import build_report
    from atlas.reporting.config import ReportConfig
    from atlas.reporting.results.given_arms import options_of, require_one_recipe

    require_one_recipe(settings or [])
    options = options_of(results or [], split_settings(settings)[0]) | {"format": format_}
    tell(build_report(read_config(ReportConfig, settings, **options), out), out)
    say(f"open:      {out / 'report.html'}")


@app.command()
def plan(
    settings: Settings = None,
    pilot: Annotated[
        list[Path] | None,
        option(
            "--pilot", "A run folder of report, or of evaluate (once per arm): the noise and time."
        ),
    ] = None,
) -> None:
    """Say how many tasks and seeds a comparison needs, and what they cost."""
    from atlas.reporting.planning.plan_comparison import PlanConfig, plan_comparison
    from atlas.reporting.planning.plan_table import plan_lines, plan_table
    from atlas.terminal.visible_text import print_text, print_whole, visible

    found = plan_comparison(read_config(PlanConfig, settings), pilot or ())
    console = plain_console()
    print_whole(console, plan_table(found))
    for line in plan_lines(found):
        print_text(console, visible(line))
