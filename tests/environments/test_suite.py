"""Suites: how they are named, changed and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from atlas.config import SPEED_ONLY, check_config, load_config, result_settings
from atlas.environments.base import ENVIRONMENTS
from atlas.environments.suite import Suite, read_suite
from atlas.errors import ConfigError
from atlas.evaluation.evaluate_suite import EvaluateSuiteConfig
from tests.environments.push import PushConfig, PushEnvironment

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "recipes" / "suites").glob("*.yaml"))
PUSH = "tests.environments.push:PushEnvironment"


def suite(**changes: Any) -> dict[str, Any]:
    return {"entries": {"a": {"environment": PUSH}, "b": {"environment": PUSH}}} | changes


def write(folder: Path, values: Any) -> str:
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(file)


def test_a_suite_is_read_from_a_path_and_changed_entry_by_entry(tmp_path: Path) -> None:
    path = write(tmp_path, suite())
    changed = read_suite(
        {"from": path, "entries": {"a": {"episodes": 3}, "b": None, "c": {"environment": PUSH}}}
    )
    assert {name: entry.episodes for name, entry in changed.entries.items()} == {"a": 3, "c": 100}
    assert changed.entries["a"].environment.name == PUSH


def test_settings_of_the_command_line_reach_into_a_suite(tmp_path: Path) -> None:
    given = {"model": "m", "suite": {"from": write(tmp_path, suite())}}
    config = load_config(EvaluateSuiteConfig, None, ["suite.entries.b.ring=held_out_sizes"], given)
    assert [entry.ring for entry in config.suite.entries.values()] == ["held_in", "held_out_sizes"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"entries": {}}, "without entries"),
        ({"entries": {"../a": {"environment": PUSH}}}, "slash"),
        ({"entries": {"manifest.json": {"environment": PUSH}}}, "file of the run"),
        ({"entries": {"a": {"environment": "babyia"}}}, "babyai"),
        ({"entries": {"a": {"environment": PUSH, "episode": 3}}}, "'episodes'"),
        (
            {"entries": {"a": {"environment": PUSH, "server": "x"}}, "servers": {"y": None}},
            "Known: y",
        ),
        ({"entries": {"a": 3}}, "entries.a"),
        ({"entry": {}}, "entries"),
    ],
)
def test_a_mistake_in_a_suite_is_named(values: Any, words: str, tmp_path: Path) -> None:
    for given in (write(tmp_path, values), values):
        with pytest.raises(ConfigError, match=words):
            check_config(EvaluateSuiteConfig, {"model": "m", "suite": given}, "recipe")


def test_an_unknown_suite_and_an_unknown_entry_are_named_with_what_there_is(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'here'"):
        read_suite("heer")
    with pytest.raises(ConfigError, match="has no entry 'aa'"):
        read_suite({"from": write(tmp_path, suite()), "entries": {"aa": {"episodes": 3}}})


class ServedConfig(PushConfig):
    url: Annotated[str, SPEED_ONLY] = Field(description="the address of its server")


class ServedEnvironment(PushEnvironment):
    """An environment at an address."""

    Config = ServedConfig


def test_entries_get_the_addresses_of_their_servers_and_those_without_are_known() -> None:
    world = f"{__name__}:ServedEnvironment"
    entries = {name: {"environment": world, "server": name} for name in ("a", "b")}
    servers = {"a": "http://127.0.0.1:1", "b": None}
    found = check_config(Suite, {"servers": servers, "entries": entries}, "recipe")
    assert found.entries["a"].environment.settings.url == "http://127.0.0.1:1"
    assert found.entries["a"].world_name == "a"
    assert found.without_server == ("b",)
    again = check_config(Suite, found.model_dump(mode="json"), "config.yaml")
    assert again == found
    moved = check_config(
        Suite, {"servers": {**servers, "a": "http://127.0.0.1:2"}, "entries": entries}, "recipe"
    )
    assert result_settings(moved) == result_settings(found)
    assert "entries.a.split" in result_settings(found)


def unknown_environments(suite: str) -> list[str]:
    """The environments of a shipped suite that this version does not have."""
    path = ROOT / "recipes" / "suites" / f"{suite}.yaml"
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = {
        name if isinstance(name, str) else name["name"]
        for name in (entry["environment"] for entry in written["entries"].values())
    }
    return sorted(names - ENVIRONMENTS.keys())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_suite_is_read(path: Path) -> None:
    if unknown := unknown_environments(path.stem):
        pytest.skip(f"no environment is called {', '.join(unknown)}")
    found = read_suite(str(path))
    assert found.entries or found.without_server
    assert all(entry.ring.startswith("held_") for entry in found.entries.values())


def test_the_address_of_a_server_goes_where_its_environment_reads_it() -> None:
    address = "http://127.0.0.1:36001"
    entries = {
        "shop": {"environment": {"name": "agentgym", "server": "webshop"}, "server": "shop"},
        "lamp": {"environment": "openenv", "server": "shop"},
    }
    read = Suite.model_validate({"entries": entries, "servers": {"shop": address}}).entries
    assert read["shop"].environment.settings.url == address
    assert read["lamp"].environment.settings.base_url == address


def test_two_worlds_from_outside_are_two_worlds_in_averages() -> None:
    entries = {
        "lake": {"environment": {"name": "gymnasium", "id": "FrozenLake-v1"}},
        "taxi": {"environment": {"name": "gymnasium", "id": "Taxi-v4"}},
        "lamp": {"environment": {"name": "openenv", "world": "lamp"}},
        "doors": {"environment": PUSH, "world": "door"},
        "push": {"environment": PUSH},
    }
    read = Suite.model_validate({"entries": entries}).entries
    names = [entry.world_name for entry in read.values()]
    assert names == ["FrozenLake-v1", "Taxi-v4", "lamp", "door", PUSH]
