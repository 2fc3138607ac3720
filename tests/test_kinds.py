"""Kinds that own their settings, in a recipe, on the command line and from Python."""

from __future__ import annotations

from typing import Annotated

import pytest

from atlas.config import SPEED_ONLY, Config, load_config, result_settings
from atlas.errors import ConfigError
from atlas.kinds import Choice, Kind


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
    ],
)
def test_a_wrong_setting_names_the_place_and_the_next_step(settings, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        name = settings.get("name", "windowed")
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
