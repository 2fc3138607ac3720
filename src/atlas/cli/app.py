"""The command `atlas`, and what its commands share: reading settings and failing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from atlas import __version__
from atlas.cli.closing_lines import say
from atlas.errors import ConfigError

app = typer.Typer(
    name="atlas",
    help="Tune language-model agents on the steps that matter (ATLaS, arXiv 2503.02197).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        help=(
            "A recipe (YAML file), and key=value settings, which win over the recipe. "
            "docs/settings.md lists all settings."
        ),
        metavar="[RECIPE] [KEY=VALUE]…",
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        help="The run folder to write. Run the command again to resume.",
        show_default=False,
    ),
]
Trajectories = Annotated[
    Path,
    typer.Option(
        "--trajectories", help="A run folder of collect, import or evaluate.", show_default=False
    ),
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"atlas {__version__}")
        raise typer.Exit


def split_settings(settings: list[str] | None) -> tuple[Path | None, list[str]]:
    """The recipe file, if one is given, and the key=value settings."""
    given = settings or []
    recipes = [setting for setting in given if "=" not in setting]
    if len(recipes) > 1:
        raise ConfigError(
            f"two recipes are given, {recipes[0]} and {recipes[1]}, expected one. "
            "Write settings as key=value."
        )
    return (Path(recipes[0]) if recipes else None), [setting for setting in given if "=" in setting]


def read_config(kind: Any, settings: list[str] | None, options: dict[str, Any]) -> Any:
    """The config of a command from a recipe, settings and options."""
    from atlas.config import load_config

    recipe, overrides = split_settings(settings)
    return load_config(kind, recipe, overrides, options)


def fail(message: str, status: int) -> NoReturn:
    """Print an error and exit."""
    say(message, is_error=True)
    sys.exit(status)
