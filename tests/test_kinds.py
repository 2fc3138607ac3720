"""Kinds that own their settings, in a recipe, on the command line and from Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import atlas
from atlas.cli.settings_list import CONFIG_OF, list_settings
from atlas.config import SPEED_ONLY, Config, load_config, result_settings, sections_of
from atlas.errors import ConfigError
from atlas.kinds import Choice, Kind, config_class


class Server(Config):
    address: Annotated[str | None, SPEED_ONLY] = None


class WindowedConfig(Config):
    window_tokens: int = 3
    server: Server = Server()


class Windowed:
    """Reads in windows."""

    Config = WindowedConfig


class Plain:
    """Has no settings."""


READER = Kind("reader", {"windowed": f"{__name__}:Windowed", "plain": f"{__name__}:Plain"})


class StageConfig(Config):
    reader: Annotated[Choice, READER] = Choice("plain")
    ratio: float = 0.3


@pytest.mark.parametrize("name", ["windowed", f"{__name__}:Windowed"])
def test_a_key_is_looked_for_among_the_settings_of_the_stage_and_of_what_it_names(
    name: str,
) -> None:
    config = load_config(
        StageConfig, None, ["window_tokens=9", "ratio=0.5", "server.address=x"], {"reader": name}
    )
    assert config.reader == Choice(
        name, WindowedConfig(window_tokens=9, server=Server(address="x"))
    )
    assert config.ratio == 0.5


class NestedConfig(Config):
    reader: Annotated[Choice, READER] | None = None


class Nested:
    """Has a choice among its settings."""

    Config = NestedConfig


class OuterConfig(Config):
    outer: Annotated[Choice, Kind("outer", {"nested": f"{__name__}:Nested"})] = Choice("nested")


@pytest.mark.parametrize("key", ["reader", "outer.reader"])
def test_a_choice_within_a_choice_takes_settings_too(key: str) -> None:
    settings = [f"{key}=windowed", f"{key}.window_tokens=9"]
    nested = load_config(OuterConfig, None, settings).outer.settings
    assert nested.reader == Choice("windowed", WindowedConfig(window_tokens=9))


def test_a_config_equals_what_was_read_from_its_own_recipe() -> None:
    config = StageConfig(reader=Choice("windowed", {"window_tokens": 5}))
    assert config.model_dump(mode="json")["reader"] == {
        "name": "windowed",
        "window_tokens": 5,
        "server": {"address": None},
    }
    assert StageConfig.model_validate(config.model_dump(mode="json")) == config
    assert StageConfig.model_validate_json(config.model_dump_json()) == config


def test_another_choice_forgets_the_settings_of_the_first_and_the_same_one_keeps_them(
    tmp_path,
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("reader: {name: windowed, window_tokens: 7}\n")
    kept = load_config(StageConfig, recipe, [], {"reader": "windowed"})
    assert kept.reader.settings.window_tokens == 7
    assert load_config(StageConfig, recipe, [], {"reader": "plain"}).reader.name == "plain"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overrides": ["window_token=1"]}, "unknown key 'window_token'. Did you mean 'window_tok"),
        ({"overrides": ["rati=1"]}, "unknown key 'rati'. Did you mean 'ratio'"),
        ({"overrides": ["server.addres=1"]}, "unknown key 'reader.server.addres'. Did you mean"),
        ({"overrides": ["window_tokens=x"]}, "'reader.window_tokens' is 'x': Input should be"),
        ({"overrides": ["window_tokens=1"], "name": "plain"}, "a setting of reader 'windowed'"),
        ({"overrides": [], "name": "windowd"}, "reader 'windowd' is not known. Did you mean 'wi"),
        ({"overrides": ["reader=3"]}, "'reader' is 3: expected a name"),
        ({"overrides": ["reader=3", "ratio=x"]}, "'reader' is 3: expected a name"),
        ({"overrides": ["reader=3", "rati=1"]}, "unknown key 'rati'. Did you mean 'ratio'"),
    ],
)
def test_a_wrong_setting_names_the_place_and_the_next_step(settings, message: str) -> None:
    name = settings.get("name", "windowed")
    with pytest.raises(ConfigError) as error:
        load_config(StageConfig, None, settings["overrides"], {"reader": name})
    assert message in str(error.value)


def test_a_setting_at_the_wrong_level_of_a_recipe_says_where_it_belongs(tmp_path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("reader: windowed\nwindow_tokens: 7\n")
    with pytest.raises(ConfigError, match="write it under 'reader:'"):
        load_config(StageConfig, recipe)


def test_what_only_changes_the_speed_does_not_count_as_a_result() -> None:
    one = StageConfig(reader=Choice("windowed", {"server": {"address": "x"}}))
    two = StageConfig(reader=Choice("windowed"))
    assert result_settings(one) == result_settings(two)
    assert result_settings(two) == {"reader": "windowed", "reader.window_tokens": 3, "ratio": 0.3}


def test_what_a_kind_is_stands_in_the_first_line_of_its_docstring() -> None:
    assert READER.describe("windowed") == "Reads in windows."


# ---- every kind of the package ----

SOURCE = Path(atlas.__file__).parent
CONFIGS = [getattr(atlas, name) for name in atlas.__all__ if name.endswith("Config")]


def kinds() -> Iterator[Kind]:
    """Every `NAME = Kind(…)` in the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Kind("):
                module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
                yield getattr(import_module(module), ast.unparse(node.targets[0]))


ROWS = [
    pytest.param(kind, name, id=f"{kind.noun}-{name}") for kind in kinds() for name in kind.table
]


def fields_of(config: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """All fields, those of sections included."""
    for name, field in config.model_fields.items():
        yield name, field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation)


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_every_row_says_what_it_is_and_describes_its_settings(kind: Kind, name: str) -> None:
    sentence = kind.describe(name)
    assert re.fullmatch(r"[^.]+(\.\S[^.]*)*\.", sentence), f"expected one sentence: {sentence!r}"
    for key, field in fields_of(config_class(kind.find(name))):
        assert field.description, f"{kind.noun} '{name}': setting '{key}' has no description"
        assert key != "name"


def test_every_kind_is_listed_with_the_settings_also_a_kind_within_a_kind() -> None:
    listed = {part.noun: part for part in list_settings(tuple(CONFIG_OF)) if hasattr(part, "noun")}
    for kind in kinds():
        assert [name for name, _ in listed[kind.noun].rows] == [*kind.table], kind.noun


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_no_setting_of_a_row_has_the_name_of_a_field_of_its_stage(kind: Kind, name: str) -> None:
    settings = config_class(kind.find(name)).model_fields.keys()
    for stage in CONFIGS:
        if kind in sections_of(stage).values():
            assert not settings & stage.model_fields.keys(), f"also a field of {stage.__name__}"


def test_public_class_names_are_unique_in_the_package() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.relative_to(SOURCE).as_posix())
    doubles = {name: paths for name, paths in found.items() if len(paths) > 1}
    assert doubles == {}


def test_every_setting_of_a_stage_is_described() -> None:
    assert len(CONFIGS) > 8
    for config in CONFIGS:
        for key, field in fields_of(config):
            assert field.description, f"{config.__name__}: '{key}' has no description"


def test_a_setting_that_a_message_advises_is_one_of_a_command_or_of_a_kind() -> None:
    configs = [
        *CONFIGS,
        *(config_class(kind.find(name)) for kind, name in (row.values for row in ROWS)),
    ]
    known = {key for config in configs for key in config.model_fields}
    for path in sorted(SOURCE.rglob("*.py")):
        for key in re.findall(r"([a-z_]+(?:\.[a-z_]+)*)=…", path.read_text(encoding="utf-8")):
            assert key.split(".")[0] in known, f"{path.name} advises {key}=…"


class NotAConfig:
    Config = dict


class NamedConfig(Config):
    name: str = "x"


class Named:
    Config = NamedConfig


class RatioConfig(Config):
    ratio: float = 0.1


class WithRatio:
    Config = RatioConfig

    def __init__(self, config: RatioConfig) -> None:
        self.config = config


NUMBER = 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NUMBER", "expected a class"),
        ("NotAConfig", "expected a subclass of atlas.config.Config"),
        ("Named", "has a field 'name'"),
        ("WithRatio", "has a field 'ratio', which is a setting of the command"),
    ],
)
def test_an_own_class_whose_settings_cannot_be_given_is_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_config(StageConfig, None, [], {"reader": f"{__name__}:{name}"})


def test_an_own_class_that_takes_other_arguments_is_refused() -> None:
    with pytest.raises(ConfigError, match="WithRatio' cannot be made: too many positional"):
        READER.make(Choice(f"{__name__}:WithRatio"), "context")


@pytest.mark.parametrize("text", ["raise RuntimeError('no GPU')", "def ("])
def test_an_own_module_that_breaks_at_import_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks_at_import.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"imported: (RuntimeError: no GPU|SyntaxError)"):
        READER.find("breaks_at_import:Reader")


def test_a_key_of_a_section_without_the_section_is_found_in_it() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'address'. Did you mean 'server.address'"):
        load_config(StageConfig, None, ["address=x"], {"reader": "windowed"})
