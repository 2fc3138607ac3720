"""Recipes: one YAML file is one run. Each stage owns a small frozen Config.

`load_config(TrainConfig, Path("train.yaml"), ["seed=3", "lora.rank=8"])` reads, overrides, checks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, runtime_checkable

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic.fields import FieldInfo

from atlas.errors import ConfigError, DependencyError, ProgramError
from atlas.extras import find_program, missing_packages, require_extras
from atlas.lookup import nearest
from atlas.recipe_file import parse_yaml, read_recipe

# The type of a validator's PydanticCustomError whose message does not quote the value.
SECRET = "secret"
# Limits of a message about a recipe: mistakes that are listed, characters of a quoted value, and
# characters of a validator's message.
MAX_MISTAKES = 10
MAX_QUOTED = 80
MAX_SAID = 400
# What counters, random generators and the files of a run can hold.
MAX_INTEGER = 2**63 - 1


class Mark(Enum):
    """Says what a rerun may change: `timeout_seconds: Annotated[float, SPEED_ONLY] = 120.0`."""

    SPEED_ONLY = "changes speed or safety of a run, never its result"
    BY_CONTENT = "names an input of the run, which is compared by content, not by name"
    MAY_NAME_FILE = "a text, or names a file or run folder, whose content is compared as well"


SPEED_ONLY, BY_CONTENT = Mark.SPEED_ONLY, Mark.BY_CONTENT
MAY_NAME_FILE = Mark.MAY_NAME_FILE


class Config(BaseModel):
    """Base class of all configs: frozen, without unknown keys, and with checked defaults."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        """Refuse text that is not UTF-8, and empty text (as a path, the working directory)."""
        if value == "" or (isinstance(value, list | tuple) and "" in value):
            raise ValueError("is empty, expected a name, a path or a text. Leave it out")
        if isinstance(value, str) and _non_utf8_text(value) is not None:
            raise ValueError("is not UTF-8, so a manifest cannot hold it")
        return value

    @field_validator("*")
    @classmethod
    def _is_countable(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise ValueError(f"is beyond {MAX_INTEGER:,}. Give a smaller number")
        return value

    def needed_extras(self) -> tuple[str, ...]:
        """The extras without which a run with these settings cannot start (see atlas.extras)."""
        return ()

    def needed_programs(self) -> Mapping[str, str]:
        """The programs without which it cannot start: name or path -> how to get it."""
        return {}


ConfigT = TypeVar("ConfigT", bound=Config)
# What the functions of `import atlas` take for a path.
StrPath = str | os.PathLike[str]


@runtime_checkable
class Section(Protocol):
    """A field whose settings depend on its value, such as a selector's: see `atlas.kinds.Kind`."""

    def settings_class(self, value: Any) -> type[Config] | None:
        """The Config class of the choice in `value`, or None if the choice is unknown."""

    def owners(self, key: str) -> list[str]:
        """Which rows have a setting with this name, as text for an error message."""

    def written(self, value: Any) -> dict[str, Any]:
        """`value` as a mapping, as in a recipe, to which settings can be added."""


def load_config(
    kind: type[ConfigT],
    recipe: StrPath | None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
) -> ConfigT:
    """A checked config from a recipe file, then `key=value` overrides.

    In an override, dots reach into sections and the value is YAML. A key that the stage does not
    have is looked up in the settings of its kinds: `--selector oracle window_tokens=8000` sets
    `selector.window_tokens`.

    Args:
        overrides: `key=value` texts; they take precedence over the file and `base`.
        base: values of command-line options; they take precedence over the file. None: not given.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value has the wrong type.
    """
    values = {} if recipe is None else read_recipe(Path(recipe))
    sections = sections_of(kind)
    for key, value in (base or {}).items():
        if value is None:
            continue
        earlier = sections[key].written(values.get(key)) if key in sections else {}
        later = sections[key].written(value) if earlier else {}
        # Another choice drops the settings of the earlier one.
        is_same_choice = earlier and earlier.get("name") == later.get("name")
        values[key] = earlier | later if is_same_choice else value
    for override in overrides:
        _apply(kind, values, override)
    return check_config(kind, values, where=str(recipe) if recipe else "command line")


def check_config(kind: type[ConfigT], values: Mapping[str, Any], where: str) -> ConfigT:
    """Make a config of class `kind` from `values`.

    Raises:
        ConfigError: every mistake, each with its key, its value and what was expected.
    """
    for key, value in values.items():
        # Names of files in a list may hold any bytes: `atlas import` reads them all the same.
        if (found := _non_utf8_text(key if isinstance(value, list) else {key: value})) is not None:
            raise ConfigError(f"{where}: {key}: {found!r} is not UTF-8. Write another text.")
    for name, owner in _chosen(kind, values).items():
        # A setting of an own class would never be reached: the key means the command's.
        for key in sorted(owner.model_fields.keys() & kind.model_fields.keys()):
            reason = f"has a field '{key}', which is a setting of the command. Rename the field"
            raise ConfigError(f"{where}: '{name}': its {owner.__name__} {reason}.")
    try:
        return kind.model_validate(values)
    except ConfigError as error:
        # A class that is named in a section, and cannot be found or used.
        raise ConfigError(f"{where}: {error}") from error.__cause__
    except ValidationError as error:
        raise ConfigError(_explain(kind, values, error, where)) from None


def require_installed(config: Config) -> None:
    """Raise DependencyError if a config, its sections or its choices need what is missing."""
    for error in not_installed(config):
        raise error


def not_installed(config: Config) -> Iterator[DependencyError]:
    """An error for each package and program that a config, its sections or its choices lack."""
    yield from missing_packages(config.needed_extras())
    for program, advice in config.needed_programs().items():
        if find_program(program) is None:
            yield ProgramError(program, advice)
    for name in own_first(type(config)):
        value = getattr(config, name, None)
        inner = value if isinstance(value, Config) else getattr(value, "settings", None)
        if isinstance(inner, Config):
            yield from not_installed(inner)


def _non_utf8_text(value: Any) -> str | None:
    """The first text in nested values that is not UTF-8, keys included."""
    if isinstance(value, str):
        return value if any("\ud800" <= character <= "\udfff" for character in value) else None
    parts: Iterable[Any] = value if isinstance(value, list | tuple) else ()
    if isinstance(value, Mapping):
        parts = chain.from_iterable(value.items())
    return next((found for part in parts if (found := _non_utf8_text(part)) is not None), None)


def require_extras_of_choices(
    kind: type[Config], recipe: Path | None, base: Mapping[str, Any]
) -> None:
    """As `require_installed`, for settings that could not be read: with defaults in their place."""
    values = (read_recipe(recipe) if recipe else {}) | {
        key: value for key, value in base.items() if value is not None
    }
    for owner in (kind, *_chosen(kind, values).values()):
        require_extras(owner.model_construct().needed_extras())


def write_yaml(config: Config) -> str:
    """The resolved config as YAML text, keys in the order of their definition."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def result_settings(
    config: Config, *, with_names: bool = False, with_defaults: bool = True
) -> dict[str, Any]:
    """The settings that decide the result and are compared by value: dotted name -> JSON value.

    Args:
        with_names: also the settings that name an input, which a run compares by its content.
        with_defaults: also the settings that have their default.
    """
    found: dict[str, Any] = {}
    written = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        if SPEED_ONLY in field.metadata or (BY_CONTENT in field.metadata and not with_names):
            continue
        value = getattr(config, name)
        if not with_defaults and value == field.get_default(call_default_factory=True):
            continue
        if isinstance(value, dict) and value and all(isinstance(v, Config) for v in value.values()):
            # Such as the entries of a suite.
            for key, each in value.items():
                inside = result_settings(each, with_names=with_names, with_defaults=with_defaults)
                found |= {f"{name}.{key}.{setting}": given for setting, given in inside.items()}
            continue
        inner = value if isinstance(value, Config) else getattr(value, "settings", None)
        if not isinstance(inner, Config):
            found[name] = written[name]
            continue
        if inner is not value:
            found[name] = value.name
        inside = result_settings(inner, with_names=with_names, with_defaults=with_defaults)
        found |= {f"{name}.{key}": given for key, given in inside.items()}
    return found


def sections_of(kind: type[BaseModel]) -> dict[str, Section]:
    """The fields of a config whose settings depend on their value."""
    return {
        name: mark
        for name in own_first(kind)
        for mark in metadata_of(kind.model_fields[name])
        if isinstance(mark, Section)
    }


def own_first(kind: type[BaseModel]) -> list[str]:
    """The fields of a config: those that its class declares, then those of the classes above it."""
    declared = [vars(each).get("__annotations__", {}) for each in kind.__mro__]

    def distance(name: str) -> int:
        return next(place for place, names in enumerate(declared) if name in names)

    return sorted(kind.model_fields, key=distance)


def metadata_of(field: FieldInfo) -> list[Any]:
    """The metadata of a field, also if it may be None (`Annotated[Choice, …] | None`)."""
    found = list(field.metadata)
    for inner in get_args(field.annotation):
        found += getattr(inner, "__metadata__", ())
    return found


def _apply(kind: type[Config], values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"'{override}' is not a setting, expected key=value.")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        shown = override if len(override) <= MAX_QUOTED else f"{override[:MAX_QUOTED]}…"
        raise ConfigError(f"setting '{shown}': the value is not YAML: {error}") from error
    # YAML 1.1 reads 1e-4 as a string.
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        value = float(value)
    *path, last = key.split(".")
    head = (path or [last])[0]
    if head not in kind.model_fields:
        chosen = _chosen(kind, values)
        owners = [name for name, owner in chosen.items() if head in owner.model_fields]
        if len(owners) > 1:
            ways = " or ".join(f"{owner}.{key}=…" for owner in owners)
            raise ConfigError(f"setting '{override}' is ambiguous. Write {ways}.")
        path = [*owners, *path]
    inner: type[BaseModel] | None = kind
    for name in path:
        if inner is not None and (section := sections_of(inner).get(name)):
            earlier = _value_of(inner, values, name)
            values[name], inner = section.written(earlier), section.settings_class(earlier)
        elif inner is not None:
            field = inner.model_fields.get(name)
            inner = None if field is None else _model_in(field.annotation)
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"setting '{override}': '{name}' is a value, not a section.")
    values[last] = value


def _value_of(kind: type[BaseModel], values: Mapping[str, Any], name: str) -> Any:
    """The given value of a field, or its default."""
    return values.get(name, kind.model_fields[name].get_default(call_default_factory=True))


def _explain(
    kind: type[BaseModel], values: Mapping[str, Any], error: ValidationError, where: str
) -> str:
    lines = []
    problems = error.errors()
    for problem in problems[:MAX_MISTAKES]:
        path = [str(part)[:MAX_QUOTED] for part in problem["loc"]]
        name = ".".join(path)
        said = problem["msg"].removeprefix("Value error, ")
        said = said.replace("a valid tuple", "a list").rstrip(".")
        # A message of a validator may quote a whole text.
        said = said if len(said) <= MAX_SAID else f"{said[:MAX_SAID]}…"
        given = problem.get("input")
        # The message does not quote a whole section.
        quoted = "" if isinstance(given, dict | BaseModel) else f" is {_quoted(given)}"
        match problem["type"]:
            case "extra_forbidden":
                line = f"unknown key '{name}'.{_advice(kind, values, path)}"
            case "missing":
                field = _fields_at(kind, path[:-1], _chosen(kind, values)).get(path[-1])
                what = f" ({field.description})" if field and field.description else ""
                line = f"'{name}' is required{what}. "
                line += f"Add '{name}: …' to the recipe, or {path[-1]}=… to the command."
            case _ if not path:
                line = f"{said}."
            case other:
                line = f"'{name}'{'' if other == SECRET else f'{quoted}:'} {said}."
        lines.append(f"{where}: {line}")
    if left := len(problems) - len(lines):
        lines.append(f"{where}: … and {left} more mistakes.")
    return "\n".join(lines)


def _quoted(value: Any) -> str:
    """The beginning of a value's text."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


def _advice(kind: type[BaseModel], values: Mapping[str, Any], path: Sequence[str]) -> str:
    """Advice on where an unknown key belongs, if that is known."""
    sections = sections_of(kind)
    chosen = _chosen(kind, values)
    key = path[-1]
    if len(path) > 1 and path[-2] not in sections:
        known = [*_fields_at(kind, path[:-1], chosen)]
        return f" {nearest(key, known)}" if known else ""
    for name, owner in chosen.items():
        if len(path) == 1 and key in owner.model_fields:
            return f" It is a setting of the {name}: write it under '{name}:'."
    inner = [
        (*(() if owner is kind else (name,)), field)
        for name, owner in {"": kind, **chosen}.items()
        for field, info in owner.model_fields.items()
        if (section := _model_in(info.annotation)) is not None and key in section.model_fields
    ]
    if inner:
        return " Did you mean " + " or ".join(f"'{way[-1]}.{key}'" for way in inner) + "?"
    if others := {who for section in sections.values() for who in section.owners(key)}:
        return f" It is a setting of {', '.join(sorted(others))}; leave it out."
    known = [name for owner in (kind, *chosen.values()) for name in owner.model_fields]
    return f" {nearest(key, known)}"


def _chosen(kind: type[BaseModel], values: Mapping[str, Any]) -> dict[str, type[Config]]:
    """The settings class of the choice in each section, by field name."""
    return {
        name: owner
        for name, section in sections_of(kind).items()
        if (owner := section.settings_class(_value_of(kind, values, name))) is not None
    }


def _fields_at(
    kind: type[BaseModel], path: Sequence[str], chosen: Mapping[str, type[Config]]
) -> Mapping[str, FieldInfo]:
    """The fields of the section at `path`; list indices and mapping keys are skipped."""
    for depth, part in enumerate(path):
        field = kind.model_fields.get(part)
        if field is None:
            continue
        section = (depth == 0 and chosen.get(part)) or _model_in(field.annotation)
        if section is None:
            return {}
        kind = section
    return kind.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if (found := _model_in(inner)) is not None:
            return found
    return None
