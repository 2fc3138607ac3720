"""The command that says what a trainer would supervise in a file."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from atlas.cli.app import LISTED, SELECTION_HELP, app, option, plain_console, read_config
from atlas.cli.closing_lines import say
from atlas.errors import ConfigError

FOUND = 1
_SETTING = re.compile(r"[A-Za-z_][\w.]*=")
AUDIT_HELP = (
    "Training files in any dialect, folders or patterns (- is standard input); with --as atlas, a "
    "run folder of trajectories. A recipe (an existing .yaml or .yml file), and key=value settings "
    f"that win over it. {LISTED}"
)
AS_HELP = (
    "The trainer: axolotl, ms-swift, trl, llamafactory, openai, torchtune, tinker, verl, "
    "renderers, agenttraj, last-turn, parquet, atlas (our own runs), or package.module:Trainer."
)
EXECUTE_HELP = "Also run the trainer's own code on the rows, and compare token for token."


@app.command()
def audit(
    given: Annotated[
        list[str] | None,
        typer.Argument(help=AUDIT_HELP, metavar="FILE… [RECIPE] [KEY=VALUE]…"),
    ] = None,
    trainer: Annotated[str | None, option("--as", AS_HELP)] = None,
    tokenizer: Annotated[
        str | None,
        option(
            "--tokenizer",
            "The model to be trained: a hub id, a model folder, or a run folder of train.",
        ),
    ] = None,
    selection: Annotated[Path | None, option("--selection", SELECTION_HELP)] = None,
    out: Annotated[Path | None, option("--out", "A JSON file for the report.")] = None,
    execute: Annotated[bool, typer.Option("--execute", help=EXECUTE_HELP)] = False,
) -> None:
    """Say what a trainer would supervise in a training file, and what is wrong with it.

    The exit status is 1 if there are findings of the kinds in `fail_on`.
    """
    from atlas.auditing.audit_files import AuditConfig, audit_files
    from atlas.auditing.audit_report import print_audit, write_audit
    from atlas.auditing.own_code import execute_trainer

    paths, settings = _paths_and_settings(given or [])
    options: dict[str, Any] = {
        "paths": paths or None,
        "trainer": trainer,
        "tokenizer": tokenizer,
        "selection": None if selection is None else str(selection),
    }
    config = read_config(AuditConfig, settings, **options)
    found = audit_files(config)
    execution = execute_trainer(config, found.tally) if execute else None
    print_audit(plain_console(), found, execution)
    if out is not None:
        write_audit(out, found, execution)
        say(f"out:       {out}")
    if found.failed_on:
        sys.exit(FOUND)


def _paths_and_settings(given: list[str]) -> tuple[list[str], list[str]]:
    """Separates files from recipe and settings; an existing path is never a setting."""
    paths: list[str] = []
    settings: list[str] = []
    for argument in given:
        is_recipe = argument.endswith((".yaml", ".yml")) and Path(argument).is_file()
        is_setting = _SETTING.match(argument) and not Path(argument).exists()
        if is_setting and any(
            one.partition("=")[0] == argument.partition("=")[0] for one in settings
        ):
            raise ConfigError(f"setting '{argument}' is given twice.")
        (settings if is_recipe or is_setting else paths).append(argument)
    return paths, settings
