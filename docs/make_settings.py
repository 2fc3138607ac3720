"""Write docs/settings.md from the Config classes: `python docs/make_settings.py`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import atlas
from atlas.config import Config, Mark, sections_of
from atlas.kinds import Choice, Kind, config_class

STAGES: tuple[tuple[str, type[Config]], ...] = (
    ("collect", atlas.CollectConfig),
    ("import", atlas.ImportConfig),
    ("select", atlas.SelectConfig),
    ("select-train", atlas.SelectTrainConfig),
    ("compare-selections", atlas.CompareConfig),
    ("export", atlas.ExportConfig),
    ("train", atlas.TrainConfig),
    ("evaluate", atlas.EvaluateConfig),
    ("report", atlas.ReportConfig),
    ("run", atlas.ExperimentConfig),
)
MARKS = {Mark.SPEED_ONLY: "speed", Mark.BY_CONTENT: "content"}
INTRODUCTION = """\
# Settings

`python docs/make_settings.py` makes this page from the code; a test checks that it is up to date.

A setting is a line of a recipe (`ratio: 0.3`) or a `key=value` argument of a command (`ratio=0.3`),
which wins over the recipe. A dot reaches into a section: `lora.rank=16`. The settings of a
selector, environment, format, dialect or player are written beside its name in a recipe
(`selector: {name: oracle, model: openai/gpt-4o}`) and among the others on the command line
(`--selector oracle model=openai/gpt-4o`).

A setting marked **speed** changes how fast or how safely a run is made, never its result: it may
differ when a run resumes. A setting marked **content** names an input that is compared by content.
"""


def settings_page() -> str:
    """The page as Markdown: one table per command, then per kind, then per shared section."""
    lines = [INTRODUCTION]
    kinds: dict[str, Kind] = {}
    sections: dict[str, type[Config]] = {}
    for name, config in STAGES:
        lines += _table(f"## atlas {name}", config)
        for section in sections_of(config).values():
            if isinstance(section, Kind):
                kinds[section.noun] = section
        sections |= _inner_configs(config)
    for noun, kind in kinds.items():
        lines += [f"## {noun}s", "", f"| {noun} | what it is |", "|---|---|"]
        lines += [f"| `{name}` | {_cell(kind.describe(name))} |" for name in kind.table]
        lines.append("")
        for name in kind.table:
            settings = config_class(kind.find(name))
            if settings.model_fields:
                lines += _table(f"### {noun} {name}", settings, kind.describe(name))
            sections |= _inner_configs(settings)
    for title, config in sorted(sections.items()):
        lines += _table(f"## section {title}", config)
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(heading: str, config: type[Config], sentence: str | None = None) -> Iterator[str]:
    purpose = sentence or " ".join((config.__doc__ or "").split())
    yield from (heading, "", textwrap.fill(purpose, 100), "")
    yield from ("| setting | default | what it is |", "|---|---|---|")
    for name, field in config.model_fields.items():
        default = (
            "required"
            if field.is_required()
            else _default(field.get_default(call_default_factory=True))
        )
        marks = [f" **{MARKS[mark]}**" for mark in field.metadata if isinstance(mark, Mark)]
        yield f"| `{name}` | {default} | {_cell(field.description or '')}{''.join(marks)} |"
    yield ""


def _inner_configs(config: type[Config]) -> dict[str, type[Config]]:
    """The sections of a config and of its sections, by the name of their field."""
    found: dict[str, type[Config]] = {}
    for name, field in config.model_fields.items():
        for inner in _configs_in(field.annotation):
            found |= {name: inner, **_inner_configs(inner)}
    return found


def _configs_in(annotation: Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for inner in get_args(annotation):
        yield from _configs_in(inner)


def _default(value: object) -> str:
    if isinstance(value, Choice):
        value = value.name
    if isinstance(value, Config):
        return "a section, see below"
    return "none" if value is None or value in ({}, ()) else f"`{_cell(str(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings_page(), encoding="utf-8")
