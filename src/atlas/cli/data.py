"""Commands that bring trajectories in and look at them."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from atlas.cli.app import (
    LISTED,
    TRAJECTORIES_HELP,
    Environment,
    OneTrajectory,
    Out,
    Settings,
    Suite,
    app,
    names_suite,
    option,
    plain_console,
    read_config,
)
from atlas.cli.closing_lines import say, tell
from atlas.cli.exit_status import exit_if_nothing_worked
from atlas.errors import ConfigError

_SETTING = re.compile(r"[A-Za-z_][\w.]*=")
IMPORT_HELP = (
    "Files, folders, run folders or patterns to read (- is standard input); a recipe (an existing "
    ".yaml or .yml file); and key=value settings that win over it. Example: "
    f"atlas import logs/ only=success min_steps=3 where=task~babyai --out RUN. {LISTED}"
)
FORMAT_HELP = (
    "A format (atlas settings import lists them), or package.module:Format; by default the content "
    "of each file decides."
)


@app.command()
def collect(
    out: Out, settings: Settings = None, env: Environment = None, suite: Suite = None
) -> None:
    """Let the expert of an environment, or of each one of a suite, play; keep the trajectories."""
    from atlas.trajectories.collect_experts import CollectConfig, collect_experts
    from atlas.trajectories.collect_suite import CollectSuiteConfig, collect_suite

    if names_suite(settings, suite, env):
        given = None if suite is None else {"from": suite}
        manifest = collect_suite(read_config(CollectSuiteConfig, settings, suite=given), out)
    else:
        config = read_config(CollectConfig, settings, environment=env)
        manifest = collect_experts(config, out)
    tell(manifest, out)
    exit_if_nothing_worked([(manifest, out)])


@app.command("import")
def import_(
    out: Out,
    given: Annotated[
        list[str] | None, typer.Argument(help=IMPORT_HELP, metavar="PATH… [RECIPE] [KEY=VALUE]…")
    ] = None,
    format: Annotated[str | None, option("--format", FORMAT_HELP)] = None,
    tokenizer: Annotated[
        str | None, option("--tokenizer", "A model whose tokenizer counts tokens by role.")
    ] = None,
) -> None:
    """Read trajectories in any known format; report what was found and what was left out."""
    from atlas.trajectories.import_report import print_import
    from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

    paths, settings = _paths_and_settings(given or [])
    options: dict[str, Any] = {"paths": paths or None, "format": format, "tokenizer": tokenizer}
    config = read_config(ImportConfig, settings, **options)
    print_import(import_trajectories(config, out), out, plain_console())


def _paths_and_settings(given: list[str]) -> tuple[list[str], list[str]]:
    """Separates the paths to read from recipe and settings; an existing path is never a setting."""
    paths: list[str] = []
    settings: dict[str, str] = {}
    for argument in given:
        key = argument.partition("=")[0]
        if argument.endswith((".yaml", ".yml")) and Path(argument).is_file():
            settings[argument] = argument
        # A pattern may be absolute, which Path.glob does not accept.
        elif not _SETTING.match(argument) or glob.glob(argument):  # noqa: PTH207
            paths.append(argument)
        elif key in settings:
            raise ConfigError(
                f"setting '{argument}': {key} is given twice. Write one list: {key}='[A, B]'."
            )
        else:
            settings[key] = argument
    return paths, list(settings.values())


@app.command()
def show(
    given: Annotated[
        list[str],
        typer.Argument(
            help=f"{TRAJECTORIES_HELP} Then key=value settings. {LISTED}",
            metavar="RUN [KEY=VALUE]…",
            show_default=False,
        ),
    ],
    trajectory: OneTrajectory = None,
    selection: Annotated[
        Path | None,
        option("--selection", "A run folder of select, to highlight its critical steps."),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Show long texts whole instead of their beginnings.")
    ] = False,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Show every token, supervised or not, with counts.")
    ] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(help="For --tokens: a hub id, a model folder, or a run folder of train."),
    ] = None,
) -> None:
    """Show a trajectory in the terminal, before training on it."""
    from atlas.cli.token_meters import ShowTokensConfig, load_meter
    from atlas.models.local.load import load_renderer_named
    from atlas.viewing.terminal.show import show_trajectories, show_trajectory

    run, settings = _run_and_settings(given)
    config = read_config(ShowTokensConfig, settings, tokenizer=tokenizer)
    if not tokens and (config.chat_template or config.tools or config.needs_model):
        raise ConfigError(
            "chat_template, tools, loss and objective are about tokens, so they need --tokens."
        )
    if tokens != (config.tokenizer is not None):
        raise ConfigError(
            "--tokens and --tokenizer NAME go together: the tokens are those of the model to train."
        )
    if trajectory is not None:
        renderer = load_renderer_named(config.tokenizer, config.chat_template)
        meter = None
        if config.tokenizer is not None and config.needs_model:
            meter = load_meter(config.tokenizer, config.objective, config.chat_template)
        show_trajectory(
            plain_console(),
            run,
            trajectory,
            selection,
            renderer,
            config.max_tokens,
            config.tools,
            meter,
            whole=full,
        )
    elif tokens or full:
        flag = "--tokens" if tokens else "--full"
        raise ConfigError(
            f"{flag} shows one trajectory, so it needs --trajectory ID. "
            "Leave both out to see the ids."
        )
    else:
        show_trajectories(plain_console(), run, selection)


def _run_and_settings(given: list[str]) -> tuple[Path, list[str]]:
    """The run folder of a command, and its key=value settings."""
    settings = [one for one in given if _SETTING.match(one) and not Path(one).exists()]
    runs = [one for one in given if one not in settings]
    if len(runs) != 1:
        said = ", ".join(runs) or "none"
        raise ConfigError(f"expected one run folder, given: {said}. Write settings as key=value.")
    return Path(runs[0]), settings


@app.command()
def label(
    given: Annotated[
        list[str],
        typer.Argument(
            help=f"{TRAJECTORIES_HELP} Then key=value settings, such as annotator=ann. {LISTED}",
            metavar="RUN [KEY=VALUE]…",
            show_default=False,
        ),
    ],
    out: Annotated[Path, option("--out", "The file of labels (.jsonl) to write or to continue.")],
    trajectory: OneTrajectory = None,
) -> None:
    """Mark critical steps by hand: read a trajectory, then press one key for each step."""
    from atlas.viewing.terminal.label import LabelConfig, label_trajectories

    run, settings = _run_and_settings(given)
    annotator = read_config(LabelConfig, settings).annotator
    num_finished = label_trajectories(plain_console(), run, out, annotator, trajectory)
    use = "The file is written once a whole trajectory is labeled"
    if out.exists():
        select = f"atlas select --trajectories {run} --selector annotated labels={out} --out RUN"
        use = f"Use them: {select}"
    say(f"out:       {out}: {num_finished} more trajectories, labeled by {annotator}. {use}")
