"""Recipes: one YAML file is one run. Each stage owns a small frozen Config; unknown keys fail with the nearest right one.

`load_config(TrainConfig, "train.yaml", ["seed=3", "lora.rank=8"])` reads, overrides, checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from atlas.errors import ConfigError
from atlas.lookup import nearest

SECRET = (
    "secret"  # the type of a validator's PydanticCustomError whose message does not quote the value
)


class Config(BaseModel):
    """Base of every config: frozen, unknown keys refused. `machine_fields` change how fast, never what comes out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    machine_fields: ClassVar[frozenset[str]] = frozenset()


ConfigT = TypeVar("ConfigT", bound=Config)


def load_config(
    kind: type[ConfigT],
    recipe: Path | None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
) -> ConfigT:
    """A checked config from a recipe file, then `key=value` overrides (dots reach into sections, values are YAML).

    Args:
        kind: the Config class of the stage.
        recipe: a YAML file, or None to start from the defaults.
        overrides: `key=value` strings; they win over the file and over `base`.
        base: values from named command-line options; they win over the file.

    Raises:
        ConfigError: unreadable file, unknown key, or a value of the wrong kind; the message names the place.
    """
    values = read_recipe(recipe) if recipe else {}
    values = {**values, **{key: value for key, value in (base or {}).items() if value is not None}}
    for override in overrides:
        _apply(values, override)
    return check_config(kind, values, where=str(recipe) if recipe else "command line")


def check_config(kind: type[ConfigT], values: Mapping[str, Any], where: str) -> ConfigT:
    """`values` as a `kind`, or one ConfigError that names the key, the value and what was expected."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(kind, error, where)) from None


def complete_config(kind: type[Config], stored: Mapping[str, Any]) -> dict[str, Any]:
    """A config as an earlier version stored it, with today's defaults for the keys that it did not know: they change nothing.

    What cannot be read any more (a key is gone, say) stays as it was stored.
    """
    try:
        return kind.model_validate(stored).model_dump(mode="json")
    except ValidationError:
        return dict(stored)


def read_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"recipe {path} does not exist. Give the path of a YAML file, or key=value settings alone."
        ) from None
    except (
        OSError,
        ValueError,
        yaml.YAMLError,
    ) as error:  # ValueError: no UTF-8, or a date that does not exist
        raise ConfigError(f"recipe {path} cannot be read: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"recipe {path} holds a {type(values).__name__}, expected 'key: value' lines."
        )
    return values


def write_yaml(config: Config) -> str:
    """The resolved config as YAML text, keys in the order of their definition."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"'{override}' is not a setting, expected key=value.")
    try:
        value = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"setting '{override}': the value is not YAML: {error}") from error
    if isinstance(value, str) and re.fullmatch(
        r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value
    ):  # YAML 1.1 reads 1e-4 as a string
        value = float(value)
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"setting '{override}': '{section}' is a value, not a section.")
        values = inner
    values[last] = value


def _explain(kind: type[BaseModel], error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        name = ".".join(path) or "recipe"
        if problem["type"] == "extra_forbidden":
            known = _fields_at(kind, path[:-1])
            lines.append(
                f"{where}: unknown key '{name}'. {nearest(path[-1], known)}"
                if known
                else f"{where}: unknown key '{name}'."
            )
        elif problem["type"] == "missing":
            lines.append(
                f"{where}: '{name}' is required. Add '{name}: …' to the recipe, or {name}=… to the command."
            )
        elif problem["type"] == SECRET:
            lines.append(f"{where}: '{name}' {problem['msg']}.")
        else:
            said = problem["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list")
            lines.append(
                f"{where}: '{name}' is {problem.get('input')!r}: {said}."
                if path
                else f"{where}: {said}."
            )
    return "\n".join(lines)


def _fields_at(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The field names of the section at `path`; list indices and mapping keys are stepped over."""
    for part in path:
        field = kind.model_fields.get(part)
        if field is None:
            continue
        section = _model_in(field.annotation)
        if section is None:
            return []
        kind = section
    return list(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if (found := _model_in(inner)) is not None:
            return found
    return None
