from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from atlas.config import Config, load_config, own_first, write_yaml
from atlas.errors import ConfigError
from atlas.lookup import look_up


class Inner(Config):
    rank: int = 4


class Outer(Config):
    name: str
    rate: float = Field(default=0.1, gt=0)
    inner: Inner | None = None
    of: tuple[str, ...] = ()


def test_settings_win_over_options_and_options_over_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: recipe\nrate: 1\n")
    assert load_config(Outer, tmp_path / "r.yaml").name == "recipe"
    assert load_config(Outer, tmp_path / "r.yaml", [], {"name": "option", "rate": None}) == Outer(
        name="option", rate=1
    )
    assert (
        load_config(Outer, tmp_path / "r.yaml", ["name=setting"], {"name": "option"}).name
        == "setting"
    )


def test_settings_reach_into_sections_and_read_numbers_as_people_write_them() -> None:
    config = load_config(Outer, None, ["name=x", "inner.rank=8", "rate=1e-4"])
    assert (config.inner, config.rate) == (Inner(rank=8), 1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["name=x", "raet=1"], "unknown key 'raet'. Did you mean 'rate'"),
        (["name=x", "inner.rnak=1"], "unknown key 'inner.rnak'. Did you mean 'rank'"),
        (["rate=1"], "'name' is required"),
        (["name=x", "rate=-1"], "'rate' is -1"),
        (["name=x", "of=a"], "'of' is 'a': Input should be a list."),
        (["name=x", "rate"], "expected key=value"),
        (["name=x", "name.deep=1"], "is a value, not a section"),
        (["name=x", "rate=[1"], "not YAML"),
    ],
)
def test_mistakes_are_named_with_their_place(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(Outer, None, settings)
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words"])
def test_a_recipe_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match="expected 'key: value' lines"):
        load_config(Outer, tmp_path / "r.yaml")


def test_a_saved_config_loads_as_itself(tmp_path: Path) -> None:
    config = Outer(name="ünïcode: 1", inner=Inner())
    (tmp_path / "c.yaml").write_text(write_yaml(config), encoding="utf-8")
    assert load_config(Outer, tmp_path / "c.yaml") == config


def test_a_row_of_ones_own_is_named_by_module_and_object() -> None:
    assert look_up("selector", "collections:OrderedDict", {}).__name__ == "OrderedDict"
    with pytest.raises(ConfigError, match="Did you mean 'random'"):
        look_up("selector", "randon", {"random": "x:y"})
    with pytest.raises(ConfigError, match="cannot be imported"):
        look_up("selector", "no.such.module:Thing", {})


def test_a_key_that_stands_twice_in_a_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\ninner:\n  rank: 1\n  rank: 2\n")
    with pytest.raises(ConfigError, match=r"r\.yaml cannot be read: the key 'rank' stands twice"):
        load_config(Outer, tmp_path / "r.yaml")


def test_the_settings_that_a_class_declares_come_before_those_that_it_inherits() -> None:
    class Base(Config):
        shared: int = 1
        changed: int = 1

    class Own(Base):
        first: int = 1
        changed: int = 2

    assert own_first(Own) == ["changed", "first", "shared"]
    assert set(own_first(Own)) == set(Own.model_fields)
