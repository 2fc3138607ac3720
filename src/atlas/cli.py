"""The command line: each command checks its config, calls one function, and ends with what came in, what went out and
what was left out. Errors of ours are one message and exit status 2; Ctrl-C stops cleanly, and the next run goes on.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from atlas import __version__
from atlas.errors import AtlasError, ConfigError

INTERRUPTED = 130  # the status that typer gives to Ctrl-C

app = typer.Typer(
    name="atlas",
    help="Tune language-model agents on the steps that matter (ATLaS, arXiv 2503.02197).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Settings = Annotated[
    list[str] | None, typer.Argument(help="A recipe (YAML file) and key=value settings that win over it.", metavar="[RECIPE] [KEY=VALUE]…")
]
Out = Annotated[Path, typer.Option("--out", help="The run folder to write; run again to go on.", show_default=False)]
Trajectories = Annotated[Path, typer.Option("--trajectories", help="A run folder of collect, import or evaluate.", show_default=False)]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"atlas {__version__}")
        raise typer.Exit


@app.command()
def collect(
    out: Out,
    settings: Settings = None,
    env: Annotated[str | None, typer.Option("--env", help="A row of the table of environments, or package.module:Class.")] = None,
    split: Annotated[str | None, typer.Option(help="Which tasks: train, held_in_test, held_out_test.")] = None,
    episodes: Annotated[int | None, typer.Option(help="How many.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which tasks of the split, and the expert's words and slips.")] = None,
) -> None:
    """Let an environment's own expert play, and keep its trajectories."""
    from atlas.trajectories.collect_experts import CollectConfig, collect_experts

    config = _config(CollectConfig, settings, {"environment": env, "split": split, "episodes": episodes, "seed": seed})
    _tell(collect_experts(config, out), out)


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files of trajectories.", show_default=False)],
    out: Out,
    format: Annotated[str | None, typer.Option(help="agenttraj or openai; told from the content if left out.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that is no trajectory.")] = False,
) -> None:
    """Read trajectories that you have: AgentGym's AgentTraj, or OpenAI chat messages."""
    from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

    config = ImportConfig(paths=tuple(map(str, paths)), format=format, strict=strict)
    _tell(import_trajectories(config, out), out)


@app.command()
def select(
    trajectories: Trajectories,
    out: Out,
    settings: Settings = None,
    selector: Annotated[
        str | None, typer.Option(help="all, random, complement, annotated, rules, oracle, or package.module:Selector.")
    ] = None,
    ratio: Annotated[float | None, typer.Option(help="The share of a trajectory's steps that may be selected (the paper: 0.3).")] = None,
    seed: Annotated[int | None, typer.Option(help="Drives the selectors that draw.")] = None,
    of: Annotated[Path | None, typer.Option(help="For complement: the selection run to take the complement of.")] = None,
    model: Annotated[str | None, typer.Option(help="For the oracle: the model to ask.")] = None,
    base_url: Annotated[str | None, typer.Option(help="For the oracle: any OpenAI-compatible endpoint.")] = None,
) -> None:
    """Find the critical steps of each trajectory, under a budget."""
    from atlas.selection.select_steps import SelectConfig, select_steps

    given = {"selector": selector, "ratio": ratio, "seed": seed, "of": of and str(of), "model": model, "base_url": base_url}
    _tell(select_steps(_config(SelectConfig, settings, given), trajectories, out), out)


@app.command()
def train(
    trajectories: Trajectories,
    selection: Annotated[
        Path, typer.Option("--selection", help="A run folder of select, made from these trajectories.", show_default=False)
    ],
    out: Out,
    settings: Settings = None,
    model: Annotated[str | None, typer.Option(help="A hub id, a model folder, or a run folder of train.")] = None,
    seed: Annotated[int | None, typer.Option(help="Order of the examples, and dropout if any.")] = None,
) -> None:
    """Tune a model with loss on the selected steps alone, the whole trajectory in its context."""
    from atlas.training.train_agent import TrainConfig, train_agent

    _tell(train_agent(_config(TrainConfig, settings, {"model": model, "seed": seed}), trajectories, selection, out), out)


@app.command()
def evaluate(
    out: Out,
    settings: Settings = None,
    model: Annotated[str | None, typer.Option(help="A hub id, a model folder, or a run folder of train.")] = None,
    env: Annotated[str | None, typer.Option("--env", help="A row of the table of environments, or package.module:Class.")] = None,
    split: Annotated[str | None, typer.Option(help="Which tasks: held_in_test, held_out_test, train.")] = None,
    episodes: Annotated[int | None, typer.Option(help="How many.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which tasks, and the random streams when sampling.")] = None,
) -> None:
    """Let a model play an environment, and measure it."""
    from atlas.evaluation.evaluate_agent import EvaluateConfig, evaluate_agent

    given = {"model": model, "environment": env, "split": split, "episodes": episodes, "seed": seed}
    _tell(evaluate_agent(_config(EvaluateConfig, settings, given), out), out)


@app.command()
def report(out: Out, settings: Settings) -> None:
    """Compare arms: one page with intervals, made from the run folders that a recipe names."""
    from atlas.reporting.build_report import build_report
    from atlas.reporting.config import ReportConfig

    _tell(build_report(_config(ReportConfig, settings, {}), out), out)
    typer.echo(f"open:      {out / 'report.html'}")


@app.command()
def demo(
    settings: Settings = None,
    out: Annotated[Path, typer.Option("--out", help="The folder of all runs; run again to go on.")] = Path("runs/demo"),
) -> None:
    """Run a whole comparison: collect, select, train each arm, evaluate, report."""
    from rich.console import Console
    from rich.markup import escape

    from atlas.experiment import ExperimentConfig, plan_experiment, run_stages
    from atlas.reporting.report import Report
    from atlas.reporting.tables import format_main_table

    recipe, overrides = _split(settings)
    recipe = recipe or Path("recipes/demo/babyai.yaml")
    stages = plan_experiment(_config(ExperimentConfig, [str(recipe), *overrides], {}), out, str(recipe))
    console = Console()
    console.print(
        f"[bold]{escape(str(recipe))}[/]: {len(stages)} stages into {escape(str(out))}; finished ones are skipped, Ctrl-C is safe"
    )
    for number, (stage, manifest) in enumerate(run_stages(stages), start=1):
        console.print(
            f"{number:3}/{len(stages)}  {escape(stage.title):40} {manifest.wall_seconds:7.1f} s  [dim]{escape(str(stage.out))}[/]",
            highlight=False,
        )
    console.print()
    console.print(format_main_table(Report.model_validate_json((stages[-1].out / "report.json").read_bytes())))
    console.print(f"\nreport: {(stages[-1].out / 'report.html').resolve()}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point of the command `atlas`."""
    try:
        app()
    except AtlasError as error:
        _fail(f"error: {error}", 2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _fail("stopped. Finished work is kept; run the same command again to go on.", INTERRUPTED)
        raise
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            _fail(f"error: {error.filename} cannot be opened or made ({error.strerror}). Check the path and your rights to it.", 2)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail("error: the disk is full. Finished work is kept; make room and run the same command again.", 2)


def _fail(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(status)


def _split(settings: list[str] | None) -> tuple[Path | None, list[str]]:
    """A recipe file, if one is given, and the key=value settings."""
    given = settings or []
    recipes = [setting for setting in given if "=" not in setting]
    if len(recipes) > 1:
        raise ConfigError(f"two recipes are given, {recipes[0]} and {recipes[1]}, expected one. Settings are written key=value.")
    return (Path(recipes[0]) if recipes else None), [setting for setting in given if "=" in setting]


def _config(kind: Any, settings: list[str] | None, options: dict[str, Any]) -> Any:
    from atlas.config import load_config

    recipe, overrides = _split(settings)
    return load_config(kind, recipe, overrides, options)


def _tell(manifest: Any, out: Path) -> None:
    """The three closing lines: what came in, what went out, what was left out and why."""
    came_in = [f"{name} {_place(out, given)}" for name, given in manifest.inputs.items()]
    came_in = came_in or [f"{key} {manifest.config[key]}" for key in ("environment", "split", "episodes") if key in manifest.config]
    went_out = [f"{key.replace('_', ' ')} {text}" for key, value in manifest.summary.items() if (text := _short(value))]
    typer.echo(f"in:        {', '.join(came_in)}")
    typer.echo(f"out:       {out}: {', '.join(went_out)}")
    typer.echo(f"left out:  {_left_out(out)}")


def _place(out: Path, given: Any) -> str:
    """An input as seen from where the command runs; what is no path (a hub id, a digest) stays as it is."""
    return os.path.relpath(out / given.path) if (out / given.path).exists() else str(given.path)


def _short(value: Any) -> str:
    """A number of a summary in a few characters; tables within it (per group) are for the files, not for the closing lines."""
    if isinstance(value, dict):
        if value.keys() == {"value", "low", "high"}:
            return "unknown" if value["value"] is None else f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
        inner = [f"{key} {_short(part)}" for key, part in value.items() if not isinstance(part, dict)]
        return f"({', '.join(inner)})" if inner else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _left_out(out: Path) -> str:
    problems = out / "problems.jsonl"
    if not problems.exists():
        return "nothing"
    with open(problems, "rb") as lines:  # split at newlines alone: a reason may hold other line separators
        reasons = Counter(json.loads(line)["reason"] for line in lines)
    if not reasons:
        return "nothing"
    common = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(3))
    return f"{reasons.total()} ({common}{'; …' if len(reasons) > 3 else ''}), see {problems}"


if __name__ == "__main__":
    main()
