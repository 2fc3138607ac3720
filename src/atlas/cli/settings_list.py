"""All settings with their defaults, from the Config classes: for the terminal and for the docs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import atlas
from atlas.auditing.audit_files import AuditConfig
from atlas.cli.token_meters import ShowTokensConfig
from atlas.config import Config, Mark, metadata_of, own_first, sections_of
from atlas.kinds import Choice, Kind, config_class
from atlas.serving.serve_environment import ServeConfig
from atlas.viewing.terminal.label import LabelConfig
from atlas.viewing.web.config import ViewConfig

CONFIG_OF: dict[str, type[Config]] = {
    "collect": atlas.CollectConfig,
    "collect --suite": atlas.CollectSuiteConfig,
    "import": atlas.ImportConfig,
    "show": ShowTokensConfig,
    "label": LabelConfig,
    "view": ViewConfig,
    "select": atlas.SelectConfig,
    "select-train": atlas.SelectTrainConfig,
    "compare-selections": atlas.CompareConfig,
    "export": atlas.ExportConfig,
    "audit": AuditConfig,
    "train": atlas.TrainConfig,
    "evaluate": atlas.EvaluateConfig,
    "evaluate --suite": atlas.EvaluateSuiteConfig,
    "evaluate --skills": atlas.SkillsConfig,
    "probe": atlas.ProbeConfig,
    "report": atlas.ReportConfig,
    "plan": atlas.PlanConfig,
    "run": atlas.ExperimentConfig,
    "serve": ServeConfig,
}
MARKS = {Mark.SPEED_ONLY: "speed", Mark.BY_CONTENT: "content", Mark.MAY_NAME_FILE: "file"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `default` is None where it is required, and empty text where it is none."""

    name: str
    default: str | None
    description: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class SettingsOf:
    """The settings of a command, a row of a kind, or a section of those."""

    title: str
    purpose: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class KindList:
    """The rows of a kind: (name, description)."""

    noun: str
    rows: tuple[tuple[str, str], ...]


def list_settings(commands: tuple[str, ...]) -> Iterator[SettingsOf | KindList]:
    """The settings of commands, then those of their kinds, then the sections of all of them.

    A row of a kind may have kinds in its turn, as the selector `pivot` has players.
    """
    kinds: dict[str, Kind] = {}
    sections: dict[str, type[Config]] = {}
    for name in commands:
        config = CONFIG_OF[name]
        yield _settings_of(f"atlas {name}", config)
        kinds |= _kinds_of(config)
        sections |= _inner_configs(config)
    waiting = list(kinds.values())
    for kind in waiting:
        noun = kind.noun
        yield KindList(noun, tuple((name, kind.describe(name)) for name in kind.table))
        for name in kind.table:
            settings = config_class(kind.find(name))
            if settings.model_fields:
                yield _settings_of(f"{noun} {name}", settings, kind.describe(name))
            sections |= _inner_configs(settings)
            new = {key: one for key, one in _kinds_of(settings).items() if key not in kinds}
            kinds |= new
            waiting += new.values()
    for title, config in sorted(sections.items()):
        yield _settings_of(f"section {title}", config)


def _kinds_of(config: type[Config]) -> dict[str, Kind]:
    """The kinds among the fields of a config, by their noun."""
    found = sections_of(config).values()
    return {section.noun: section for section in found if isinstance(section, Kind)}


def _settings_of(title: str, config: type[Config], sentence: str | None = None) -> SettingsOf:
    settings = []
    for name in own_first(config):
        field = config.model_fields[name]
        default = (
            None if field.is_required() else _default(field.get_default(call_default_factory=True))
        )
        marks = [MARKS[mark] for mark in metadata_of(field) if isinstance(mark, Mark)]
        settings.append(Setting(name, default, field.description or "", "".join(marks)))
    purpose = sentence or " ".join((config.__doc__ or "").split())
    return SettingsOf(title, purpose, tuple(settings))


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
    return "" if value is None or value in ({}, ()) else str(value)
