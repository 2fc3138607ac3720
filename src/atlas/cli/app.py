"""The command `atlas`, and what its commands share.

Paths and kinds are options, actions are flags, everything else is a key=value setting.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from atlas import __version__
from atlas.cli.closing_lines import say
from atlas.errors import ConfigError
from atlas.terminal.visible_text import visible_line

if TYPE_CHECKING:
    from rich.console import Console


class _Group(TyperGroup):
    """Refuses empty arguments (as a path, the working directory) and settings with dashes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for place, argument in enumerate(args):
            option, _, value = argument.partition("=")
            is_option = option.startswith("--")
            # The message of the library would print the characters as they are.
            if (is_option or not place) and option != visible_line(option):
                raise ConfigError(f"no option or command is called '{option}'. See --help.")
            if not argument or (is_option and "=" in argument and not value):
                named = option if is_option else args[place - 1] if place else ""
                what = named if named.startswith("-") else f"argument {place + 1}"
                raise ConfigError(f"{what} is empty, expected a value. Leave it out, or give one.")
            if is_option:
                self._refuse_setting(args[0], option)
        return super().parse_args(ctx, args)

    def _refuse_setting(self, command: str, option: str) -> None:
        known = self.commands.get(command)
        if known is None or option in (
            "--help",
            *(name for one in known.params for name in one.opts),
        ):
            return
        from atlas.cli.settings_list import CONFIG_OF

        name = option.removeprefix("--").replace("-", "_")
        kinds = [kind for each, kind in CONFIG_OF.items() if each.partition(" ")[0] == command]
        if any(name in kind.model_fields for kind in kinds):
            raise ConfigError(f"{option} is a setting, not an option: write {name}=VALUE.")


app = typer.Typer(
    name="atlas",
    cls=_Group,
    help="Tune language-model agents on the steps that matter (ATLaS, arXiv 2503.02197).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def option(flag: str, description: str) -> Any:
    """An option whose default needs no words."""
    return typer.Option(flag, help=description, show_default=False)


LISTED = "`atlas settings` lists all settings."
RECIPE_HELP = f"A recipe (YAML file), and key=value settings, which win over the recipe. {LISTED}"
TRAJECTORIES_HELP = "A run folder of collect, import or evaluate."
SELECTION_HELP = "A run folder of select, made from these trajectories."

Settings = Annotated[
    list[str] | None, typer.Argument(help=RECIPE_HELP, metavar="[RECIPE] [KEY=VALUE]…")
]
Out = Annotated[Path, option("--out", "The run folder to write. Run the command again to resume.")]
Trajectories = Annotated[Path, option("--trajectories", TRAJECTORIES_HELP)]
Selection = Annotated[Path, option("--selection", SELECTION_HELP)]
OneTrajectory = Annotated[
    str | None, option("--trajectory", "Only this trajectory: its id or the beginning of it.")
]
Model = Annotated[
    str | None,
    option(
        "--model", "A hub id, a model folder, a run folder of train, or a model's name at a server."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done and its cost; do nothing.")
]
Environment = Annotated[
    str | None, option("--env", "A row of the table of environments, or package.module:Class.")
]

Suite = Annotated[
    str | None,
    option("--suite", "A suite of several environments: here, paper, or the path of a recipe."),
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


def read_config(
    config_class: Any, settings: list[str] | None, *, is_run: bool = True, **options: Any
) -> Any:
    """The config of a command from a recipe, settings and options.

    A missing package is reported before anything else, unless nothing is run.
    """
    from atlas.config import load_config, require_extras_of_choices, require_installed

    recipe, overrides = split_settings(settings)
    try:
        config = load_config(config_class, recipe, overrides, options)
    except ConfigError:
        if is_run:
            require_extras_of_choices(config_class, recipe, options)
        raise
    if is_run:
        require_installed(config)
    return config


def names_suite(settings: list[str] | None, suite: str | None, env: str | None) -> bool:
    """Whether a command is about a suite: by its option, or by its recipe.

    Raises:
        ConfigError: an environment is named, too.
    """
    from atlas.recipe_file import read_recipe

    recipe, _ = split_settings(settings)
    is_in_recipe = recipe is not None and "suite" in read_recipe(recipe)
    if env is not None and (suite is not None or is_in_recipe):
        raise ConfigError(
            "both --env and a suite are given, expected one of them. Leave --env out."
        )
    return suite is not None or is_in_recipe


def plain_console() -> Console:
    """The terminal; rich is imported when it is needed."""
    from atlas.terminal.console import plain_console

    return plain_console()


def fail(message: str, status: int) -> NoReturn:
    """Print an error and exit."""
    say(message, is_error=True)
    sys.exit(status)
