"""The command line: each command checks its config, calls one function, and ends with what came in, what went out and
what was left out. Errors of ours are one message and exit status 2; Ctrl-C stops cleanly, and the next run goes on.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from atlas import __version__
from atlas.closing_lines import left_out, place_of, tell, tell_estimate
from atlas.errors import AtlasError, ConfigError, MismatchError, RankError

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
    tell(collect_experts(config, out), out)


@app.command("import")
def import_(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, run folders, patterns; - is standard input.", show_default=False)],
    out: Out,
    format: Annotated[str | None, typer.Option(help="A row of the table of formats, or package.module:Format.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that is no trajectory.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Outcome to keep: success, failure, truncated, error, unknown.")] = None,
    min_steps: Annotated[int | None, typer.Option(help="Leave out trajectories with fewer steps.", min=0)] = None,
    max_steps: Annotated[int | None, typer.Option(help="Leave out trajectories with more steps.", min=0)] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="What to keep: task~babyai, status!=error (fields as in the docs; = != ~).")
    ] = None,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Keep exact duplicates, under ids of their own.")] = False,
    tokenizer: Annotated[str | None, typer.Option(help="A model whose tokenizer counts tokens by role.")] = None,
) -> None:
    """Read trajectories that you have, in whatever format they are, and say what was found and what was left out."""
    from rich.console import Console

    from atlas.trajectories.import_report import print_import
    from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

    read = {"paths": paths, "format": format, "strict": strict, "keep_duplicates": keep_duplicates, "tokenizer": tokenizer}
    keep = {"only": only, "where": where, "min_steps": min_steps, "max_steps": max_steps}
    config = _config(ImportConfig, None, read | keep)
    print_import(import_trajectories(config, out), out, Console(highlight=False))


@app.command()
def select(
    trajectories: Trajectories,
    out: Out,
    settings: Settings = None,
    selector: Annotated[
        str | None, typer.Option(help="A row of the table of selectors (docs/stages.md has the list), or package.module:Selector.")
    ] = None,
    ratio: Annotated[float | None, typer.Option(help="The share of a trajectory's steps that may be selected (the paper: 0.3).")] = None,
    scope: Annotated[
        str | None, typer.Option(help="Whose steps the ratio is of: trajectory, or dataset (the best of all, for selectors with scores).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Drives the selectors that draw.")] = None,
    of: Annotated[
        list[Path] | None, typer.Option(help="A selection run: for complement the one to take the complement of, for vote each that votes.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model that is asked or run; for learned: a run of select-train.")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Any OpenAI-compatible endpoint; for perplexity, entropy, excess-loss one that scores prompts.")
    ] = None,
    batch: Annotated[
        bool | None, typer.Option("--batch", help="For oracle and rejection: ask through the provider's batch endpoint.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked and what it would cost, and send nothing.")] = False,
    max_cost: Annotated[float | None, typer.Option(help="Stop asking once the answers have cost that many USD.")] = None,
    retry_problems: Annotated[
        Path | None, typer.Option(help="An earlier run of the same selector: keep its selections, ask for its problems alone.")
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
    config = _config(SelectConfig, settings, given)
    if dry_run:
        tell_estimate(estimate_cost(config, trajectories, out), config)
        return
    tell(select_steps(config, trajectories, out), out)


@app.command("select-train")
def select_train(
    trajectories: Trajectories,
    selection: Annotated[
        Path, typer.Option("--selection", help="The labels: a run folder of select, made from these trajectories.", show_default=False)
    ],
    out: Out,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(help="Which tasks are held out to measure on.")] = None,
) -> None:
    """Distil labels into a small local selector, and say how far it agrees with them on held-out tasks."""
    from atlas.selection.train_selector import SelectTrainConfig, train_selector

    tell(train_selector(_config(SelectTrainConfig, settings, {"seed": seed}), trajectories, selection, out), out)


@app.command("compare-selections")
def compare_selections(
    runs: Annotated[list[str], typer.Argument(help="Run folders of select, and key=value settings.", metavar="RUN… [KEY=VALUE]…")],
    out: Out,
    tokenizer: Annotated[str | None, typer.Option(help="Count supervised tokens of this model instead of characters.")] = None,
) -> None:
    """Show how far selections of the same trajectories agree, beyond chance, by kind and by position."""
    from rich.console import Console

    from atlas.selection.compare_selections import CompareConfig, compare_selections, read_comparison
    from atlas.selection.comparison_text import print_comparison

    settings = [given for given in runs if "=" in given and not Path(given).exists()]
    selections = [given for given in runs if given not in settings]
    manifest = compare_selections(_config(CompareConfig, settings, {"selections": selections, "tokenizer": tokenizer}), out)
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
    trajectories: Annotated[Path | None, typer.Option("--trajectories", help="A run folder of collect, import or evaluate.")] = None,
    selection: Annotated[Path | None, typer.Option("--selection", help="A run folder of select, made from these trajectories.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write: .jsonl, .json or .parquet, by dialect.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="For trl and --check: a hub id, a model folder, or a run folder of train.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="For trl: cut longer sequences, leaving out steps that no longer fit.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read the file again (write it first, if there is none) and compare its supervised tokens.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the dialect's notes: settings, versions checked, what the trainer does wrong.")
    ] = False,
) -> None:
    """Hand a selection to another trainer, in its own data format. Start with --to NAME --explain."""
    from atlas.exporting.check_export import check_export
    from atlas.exporting.explain import describe_export, explain_dialect
    from atlas.exporting.export_selection import PROBLEMS_ENDING, ExportConfig, export_selection
    from atlas.models.local import load_renderer_named

    if explain:
        typer.echo(explain_dialect(to, out))
        return
    if trajectories is None or selection is None or out is None:
        raise ConfigError("export needs --trajectories RUN --selection RUN --out FILE (or --explain alone, to read about the dialect).")
    config = _config(ExportConfig, None, {"to": to, "tokenizer": tokenizer, "max_tokens": max_tokens})
    if check and tokenizer is None:
        raise ConfigError("--check compares tokens, so it needs a tokenizer. Give --tokenizer with the name of the model to be trained.")
    renderer = load_renderer_named(tokenizer)
    if not (check and out.exists()):
        manifest = export_selection(config, trajectories, selection, out, renderer)
        came_in = [f"{name} {place_of(out.parent, given)}" for name, given in manifest.inputs.items()]
        typer.echo(describe_export(manifest, out, came_in, left_out(out.with_name(out.name + PROBLEMS_ENDING))))
    if check and renderer is not None:
        try:
            checked = check_export(config, trajectories, selection, out, renderer)
        except MismatchError as error:
            _fail(f"error: {error}", 1)
        typer.echo(f"checked:   {checked} under {tokenizer}")


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="A run folder of collect, import or evaluate.", show_default=False)],
    trajectory: Annotated[str | None, typer.Option("--trajectory", help="An id, or its beginning; left out: a table of the first.")] = None,
    selection: Annotated[Path | None, typer.Option("--selection", help="A run folder of select: its critical steps are lit.")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show every token, supervised or not, with counts and warnings.")] = False,
    tokenizer: Annotated[str | None, typer.Option(help="For --tokens: a hub id, a model folder, or a run folder of train.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="For --tokens: cut the sequence there, as training would.")] = None,
) -> None:
    """Look at a trajectory in the terminal, before training on it."""
    from rich.console import Console

    from atlas.models.local import load_renderer_named
    from atlas.viewing.show import show_trajectories, show_trajectory

    if tokens != (tokenizer is not None):
        raise ConfigError("--tokens and --tokenizer NAME go together: tokens are those of the model to be trained.")
    console = Console(highlight=False)
    if trajectory is None:
        if tokens:
            raise ConfigError("--tokens shows one trajectory, so it needs --trajectory ID. Leave both out to see the ids.")
        show_trajectories(console, run, selection)
        return
    show_trajectory(console, run, trajectory, selection, load_renderer_named(tokenizer), max_tokens)


@app.command()
def label(
    run: Annotated[Path, typer.Argument(help="A run folder of collect, import or evaluate.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The file of labels (.jsonl) to write or to go on with.", show_default=False)],
    annotator: Annotated[str, typer.Option(help="Whose labels they are.")] = "unnamed",
    trajectory: Annotated[str | None, typer.Option("--trajectory", help="This one alone: an id, or its beginning.")] = None,
) -> None:
    """Mark critical steps by hand: read a trajectory, then press one key a step."""
    from rich.console import Console

    from atlas.viewing.label import label_trajectories

    num_finished = label_trajectories(Console(highlight=False), run, out, annotator, trajectory)
    typer.echo(
        f"out:       {out}: {num_finished} trajectories more, by {annotator}. Use them: atlas select --selector annotated labels={out}"
    )


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
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", help="Also upload the checkpoint, to this repository of the hub (private by default).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained and what it would cost, and train nothing.")
    ] = False,
) -> None:
    """Tune a model with loss on the selected steps alone, the whole trajectory in its context."""
    from atlas.training.ranks import meet_ranks
    from atlas.training.train_agent import TrainConfig, train_agent

    with meet_ranks() as ranks:
        config = ranks.together(lambda: _config(TrainConfig, settings, {"model": model, "seed": seed, "push_to_hub": push_to_hub}))
        if dry_run:
            from rich.console import Console

            from atlas.training.dry_run import print_training_plan

            ranks.on_first(lambda: print_training_plan(Console(highlight=False), config, trajectories, selection))
            return
        manifest = train_agent(config, trajectories, selection, out)
        if ranks.is_first:
            tell(manifest, out)


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
    tell(evaluate_agent(_config(EvaluateConfig, settings, given), out), out)


@app.command()
def report(out: Out, settings: Settings) -> None:
    """Compare arms: one page with intervals, made from the run folders that a recipe names."""
    from atlas.reporting.build_report import build_report
    from atlas.reporting.config import ReportConfig

    tell(build_report(_config(ReportConfig, settings, {}), out), out)
    typer.echo(f"open:      {out / 'report.html'}")


@app.command()
def demo(
    settings: Settings = None,
    out: Annotated[Path, typer.Option("--out", help="The folder of all runs; run again to go on.")] = Path("runs/demo"),
) -> None:
    """Run a whole comparison: collect, select, train each arm, evaluate, report."""
    from rich.console import Console
    from rich.markup import escape

    from atlas.experiment import ExperimentConfig, plan_experiment
    from atlas.reporting.report import Report
    from atlas.reporting.tables import format_main_table
    from atlas.run_stages import run_stages

    recipe, overrides = _split(settings)
    recipe = recipe or Path("recipes/demo/babyai.yaml")
    config = _config(ExperimentConfig, [str(recipe), *overrides], {})
    stages = plan_experiment(config, out, str(recipe))
    console = Console()
    console.print(
        f"[bold]{escape(str(recipe))}[/]: {len(stages)} stages into {escape(str(out))}; finished ones are skipped, Ctrl-C is safe"
    )
    for number, (stage, manifest) in enumerate(run_stages(stages, config.processes), start=1):
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
    except RankError:
        sys.exit(2)
    except AtlasError as error:
        _fail(f"error: {error}", 2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _fail(f"stopped. {_what_is_kept()}", INTERRUPTED)
        raise
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT):
            _fail(f"error: {error.filename} cannot be opened or made ({error.strerror}). Check the path and your rights to it.", 2)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(f"error: the disk is full. Make room. {_what_is_kept()}", 2)


def _what_is_kept() -> str:
    """What becomes of a command that was cut short."""
    if sys.argv[1:2] == ["import"]:
        return "An import keeps nothing unfinished; run the same command again to start over."
    return "Finished work is kept; run the same command again to go on."


def _fail(message: str, status: int) -> NoReturn:
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
