"""The command `atlas settings`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.app import app
from atlas.cli.closing_lines import say
from atlas.errors import ConfigError
from atlas.lookup import nearest

if TYPE_CHECKING:
    from atlas.cli.settings_list import KindList, SettingsOf

WIDEST = 100
NARROWEST = 20


@app.command()
def settings(
    command: Annotated[
        str | None,
        typer.Argument(help="A command, such as select; all commands, if left out."),
    ] = None,
) -> None:
    """List the settings of a command, of its kinds and sections, with their defaults."""
    from rich.console import Console

    from atlas.cli.settings_list import CONFIG_OF, list_settings

    if command is not None and command not in CONFIG_OF:
        raise ConfigError(
            f"'{command}' is not a command with settings. {nearest(command, CONFIG_OF)}"
        )
    width = max(NARROWEST, min(Console().width, WIDEST))
    # With those of its options, such as --suite.
    chosen = tuple(name for name in CONFIG_OF if command in (None, name, name.partition(" ")[0]))
    for part in list_settings(chosen):
        say("\n".join(_lines_of(part, width)) + "\n")


def _lines_of(part: SettingsOf | KindList, width: int) -> Iterator[str]:
    from atlas.cli.settings_list import KindList

    if isinstance(part, KindList):
        yield f"{part.noun}s"
        for name, description in part.rows:
            yield from _wrapped(f"  {name}", description, width)
        return
    yield from textwrap.wrap(f"{part.title}: {part.purpose}", width)
    for setting in part.settings:
        default = "(required)" if setting.default is None else f"= {setting.default or 'none'}"
        mark = f" [{setting.mark}]" if setting.mark else ""
        yield from _wrapped(f"  {setting.name} {default}", setting.description + mark, width)


def _wrapped(heading: str, text: str, width: int) -> list[str]:
    """A heading, and the text on the lines below it."""
    inner = textwrap.wrap(text, max(NARROWEST, width - 6))
    return [
        *textwrap.wrap(heading, width, subsequent_indent="      "),
        *(f"      {line}" for line in inner),
    ]
