"""Suites: how they are named, changed and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from atlas.config import SPEED_ONLY, check_config, load_config, result_settings
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
        ({"entries": {".lock": {"environment": PUSH}}}, "begins with a dot"),
        ({"entries": {"maze.partial": {"environment": PUSH}}}, "ends with .partial"),
        (
            {"entries": {"../a": {"environment": PUSH, "server": "x"}}, "servers": {"x": None}},
            "sla",
        ),
        ({"entries": {"a": {"environment": PUSH}}, "servers": ["x"]}, "servers"),
        ({"entries": {"a": {"environment": PUSH, "server": ["x"]}}}, "entries.a.server"),
        ({"entries": {"a": {"environment": PUSH}}, "without_server": 3}, "without_server"),
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


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_suite_is_read(path: Path) -> None:
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


def test_the_suite_here_plays_all_worlds_that_need_neither_files_nor_building() -> None:
    shipped = {Path(path).stem: read_suite(str(path)) for path in SHIPPED}
    played = {entry.environment.name for entry in shipped["here"].entries.values()}
    assert played == {
        "babyai",
        "babyai-agentgym",
        "textcraft",
        "maze",
        "textworld-express",
        "wordle",
        "planning",
        "scienceworld",
        "sql",
        "office",
    }
    trained = {entry.environment.name for entry in shipped["here-train"].entries.values()}
    held_out = {
        entry.environment.name
        for entry in shipped["here"].entries.values()
        if entry.ring == "held_out_families"
    }
    # Its games are of other families; a test of the environment compares their tasks.
    assert held_out & trained == {"textworld-express"}


def test_the_suite_paper_has_ten_held_in_and_four_held_out_worlds() -> None:
    addresses = ("webshop", "weather", "movie", "todo", "academia", "sheet")
    servers = {name: f"http://127.0.0.1:{36001 + at}" for at, name in enumerate(addresses)}
    found = read_suite({"from": "paper", "servers": servers})
    rings = [entry.ring for entry in found.entries.values()]
    assert (rings.count("held_in"), rings.count("held_out_families")) == (10, 4)
    assert {entry.split for entry in found.entries.values()} == {"paper_test"}


def test_settings_of_the_environment_of_an_entry_are_changed_one_by_one() -> None:
    changes = {"pddl": {"environment": {"problems": None}, "split": "held_in_test"}}
    changes["maze"] = {"environment": {"max_steps": 9}, "player": {"temperature": 0.5}}
    found = read_suite({"from": "paper", "entries": changes}).entries
    pddl = found["pddl"].environment
    assert (pddl.name, pddl.settings.problems, len(pddl.settings.domains)) == ("planning", None, 4)
    assert (found["maze"].environment.name, found["maze"].environment.settings.max_steps) == (
        "maze",
        9,
    )
    assert found["maze"].player == {"temperature": 0.5}
    other = read_suite({"from": "own", "entries": {"short": {"environment": "maze"}}})
    assert other.entries["short"].environment.name == "maze"


def test_a_suite_in_a_file_may_be_another_one_with_changes(tmp_path: Path) -> None:
    first = write(tmp_path, {"from": "own", "entries": {"short": {"episodes": 2}, "long": None}})
    (tmp_path / "more").mkdir()
    second = write(tmp_path / "more", {"from": first, "title": "mine"})
    found = read_suite(second)
    assert (found.title, [entry.episodes for entry in found.entries.values()]) == ("mine", [2])
    Path(first).write_text(f"from: {second}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="made from itself"):
        read_suite(second)


def test_an_address_that_no_entry_uses_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'webshop'"):
        read_suite({"from": "paper", "servers": {"webshp": "http://127.0.0.1:1"}})
