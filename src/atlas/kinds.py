"""Kinds that own their settings: selectors, environments, formats, dialects, players.

    class RandomConfig(Config):
        "Settings of `random`."

    class RandomSelector:
        "Random steps under the same budget: the control."
        Config = RandomConfig

    SELECTOR = Kind("selector", {"random": "atlas.selection.selectors.random:RandomSelector"})

    class SelectConfig(Config):
        selector: Annotated[Choice, SELECTOR] = Choice("annotated")

The first line of the class's docstring describes the class. A class without `Config` has no
settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from pydantic_core import CoreSchema, core_schema

from atlas.config import Config
from atlas.errors import AtlasError, ConfigError
from atlas.lookup import look_up
from atlas.outside import Expected, Guard


@dataclass(frozen=True, slots=True)
class Choice:
    """A name with settings: `Choice("oracle", {"model": "openai/gpt-4o"})`.

    `settings` is a mapping, as in a recipe. In a checked config it is the Config of the chosen
    class.
    """

    name: str
    settings: Any = field(default_factory=dict)


class NoConfig(Config):
    """The Config of classes without settings."""


class Kind:
    """A table `name -> "module:Class"` of classes, each with its own settings.

    A class that is not in the table is named "package.module:Class". Its calls are guarded: what it
    raises becomes an error that names class, file and method (see atlas.outside).

    Args:
        noun: what a row is called in messages, such as "selector".
        methods: which methods a class must have.
        fault: the errors that stand for exceptions of outside classes.
        expected: method -> its exceptions that the callers handle.
    """

    def __init__(
        self,
        noun: str,
        table: Mapping[str, str],
        *,
        methods: tuple[str, ...] = (),
        fault: type[AtlasError] = ConfigError,
        expected: Expected | None = None,
    ) -> None:
        self.noun = noun
        self.table = table
        self._methods = methods
        self._fault = fault
        self._expected = expected or {}
        self._outside: dict[str, tuple[Any, Any]] = {}

    def find(self, name: str) -> Any:
        """Import the class that `name` stands for.

        Raises:
            ConfigError: the name is neither a row nor an importable object, or the object cannot be
                used as a class with settings.
        """
        found = look_up(self.noun, name, self.table)
        if name in self.table:
            return found
        if (fault := _fault(found, self._methods)) is not None:
            raise ConfigError(f"{self.noun} '{name}' cannot be used: {fault}.")
        known, guarded = self._outside.get(name, (None, None))
        if known is not found:
            guard = Guard(f"{self.noun} '{name}'", self._fault, self._expected)
            guarded = guard.guarded(found)
            self._outside[name] = found, guarded
        return guarded

    def make(self, choice: Choice, *arguments: Any, **named: Any) -> Any:
        """Make an instance of the chosen class: `Class(settings, *arguments, **named)`.

        Raises:
            ConfigError: the class does not take these arguments.
        """
        found = self.find(choice.name)
        arguments = (self._validate(choice).settings, *arguments)
        try:
            signature(found).bind(*arguments, **named)
        except TypeError as error:
            given = f"its settings and {len(arguments) + len(named) - 1} more arguments"
            raise ConfigError(
                f"{self.noun} '{choice.name}' cannot be made: {error}. It is called with {given}; "
                "docs/extending.md shows a class for each kind."
            ) from None
        return found(*arguments, **named)

    def describe(self, name: str) -> str:
        """The first line of the class's docstring, which describes the class."""
        return (self.find(name).__doc__ or "").strip().partition("\n")[0]

    def settings_class(self, value: Any) -> type[Config] | None:
        try:
            return config_class(self.find(_split(value)[0]))
        except (AtlasError, ValueError):
            return None

    def owners(self, key: str) -> list[str]:
        return [
            f"{self.noun} '{name}'"
            for name in self.table
            if key in config_class(self.find(name)).model_fields
        ]

    def written(self, value: Any) -> dict[str, Any]:
        return _as_mapping(value) or {}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(_written),
        )

    def _validate(self, value: Any) -> Choice:
        is_choice = isinstance(value, Choice)
        name, settings = (value.name, value.settings) if is_choice else _split(value)
        return Choice(name, config_class(self.find(name)).model_validate(settings))


def _fault(found: Any, methods: tuple[str, ...]) -> str | None:
    """Why an outside object cannot be a class with settings."""
    if not callable(found):
        return f"it is {found!r:.80}, expected a class"
    settings: Any = config_class(found)
    if not (isinstance(settings, type) and issubclass(settings, Config)):
        return f"its Config is {settings!r:.80}, expected a subclass of atlas.config.Config"
    if "name" in settings.model_fields:
        return "its Config has a field 'name', which names the class in a recipe. Rename the field"
    lacking = [name for name in methods if not callable(getattr(found, name, None))]
    if lacking and isinstance(found, type):
        return f"it lacks the method {', '.join(lacking)}; docs/extending.md has an example"
    return None


def config_class(found: Any) -> type[Config]:
    """The Config of a class, or NoConfig."""
    kind: type[Config] = getattr(found, "Config", NoConfig)
    return kind


def _split(value: Any) -> tuple[str, dict[str, Any]]:
    """Split a value of a recipe into name and settings: `oracle`, or `{name: oracle, …}`."""
    written = _as_mapping(value)
    if written is None or not isinstance(name := written.pop("name", None), str) or not name:
        raise ValueError("expected a name, or {name: …} with settings beside it")
    return name, written


def _as_mapping(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Choice):
        return dict(_written(value))
    return dict(value) if isinstance(value, Mapping) else None


def _written(choice: Choice) -> dict[str, Any]:
    values = choice.settings
    if isinstance(values, Config):
        values = values.model_dump(mode="json")
    return {"name": choice.name, **values}
