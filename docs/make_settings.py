"""Write docs/settings.md from the Config classes: `python docs/make_settings.py`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from atlas.cli.settings_list import CONFIG_OF, KindList, SettingsOf, list_settings

INTRODUCTION = """\
# Settings

`python docs/make_settings.py` makes this page from the code; a test checks that it is up to date.
`atlas settings COMMAND` prints the part of one command.

A setting is a line of a recipe (`ratio: 0.3`) or a `key=value` argument of a command (`ratio=0.3`),
which wins over the recipe. A dot reaches into a section: `lora.rank=16`. The settings of a
selector, environment, format, dialect, player or objective are written beside its name in a recipe
(`selector: {name: oracle, model: openai/gpt-4o}`) and among the others on the command line
(`--selector oracle model=openai/gpt-4o`).

A setting marked **speed** changes how fast or how safely a run is made, never its result: it may
differ when a run resumes. A setting marked **content** names an input that is compared by content.
If one marked **file** names a file or a run folder, its content must also be the same then.

A recipe has at most 1 MiB, 50 levels and 10,000 values. An alias counts as the value that it
repeats.
"""


def settings_page() -> str:
    """The page as Markdown: one table per command, then per kind, then per shared section."""
    lines = [INTRODUCTION]
    for part in list_settings(tuple(CONFIG_OF)):
        lines += _kind(part) if isinstance(part, KindList) else _table(part)
    return "\n".join(lines).rstrip("\n") + "\n"


def _kind(part: KindList) -> Iterator[str]:
    yield from (f"## {part.noun}s", "", f"| {part.noun} | what it is |", "|---|---|")
    for name, description in part.rows:
        yield f"| `{name}` | {_cell(description)} |"
    yield ""


def _table(part: SettingsOf) -> Iterator[str]:
    is_row = not part.title.startswith(("atlas ", "section "))
    yield from (f"##{'#' * is_row} {part.title}", "", textwrap.fill(part.purpose, 100), "")
    yield from ("| setting | default | what it is |", "|---|---|---|")
    for setting in part.settings:
        default = setting.default
        shown = "required" if default is None else f"`{_cell(default)}`" if default else "none"
        shown = default if default and default.startswith("a section") else shown
        mark = f" **{setting.mark}**" if setting.mark else ""
        yield f"| `{setting.name}` | {shown} | {_cell(setting.description)}{mark} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings_page(), encoding="utf-8")
