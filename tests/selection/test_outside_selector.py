"""A selector outside the table runs from the command line and from a recipe, with its settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.errors import ConfigError
from atlas.records import Message
from atlas.store.run_folders import read_manifest
from tests.conftest import make_trajectory
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import select_config
from tests.selection.outside import NAME


@pytest.fixture
def run(tmp_path: Path) -> Path:
    trajectory = make_trajectory(6)
    steps = tuple(
        step.model_copy(update={"response": Message(role="assistant", content="x" * (index + 1))})
        for index, step in enumerate(trajectory.steps)
    )
    return write_trajectories(tmp_path / "run", [trajectory.model_copy(update={"steps": steps})])


def select(run: Path, out: Path, *arguments: str) -> list[int]:
    """The steps that the command selects."""
    done = CliRunner().invoke(
        app, ["select", "--trajectories", str(run), "--out", str(out), *arguments]
    )
    if done.exception is not None:
        raise done.exception
    [selection] = selections_in(out)
    return sorted(selection.indices)


def test_its_settings_are_given_on_the_command_line(run: Path, tmp_path: Path) -> None:
    given = ("--selector", NAME, "ratio=0.34")
    assert select(run, tmp_path / "long", *given) == [4, 5]
    assert select(run, tmp_path / "short", *given, "side=shortest", "at_least=3") == [2, 3]
    chosen_by = read_manifest(tmp_path / "short").summary["chosen_by"]
    assert chosen_by == {
        "selector": NAME,
        "sentence": "the steps with the shortest responses",
        "asks_a_model": False,
        "model": None,
        "draws": False,
    }


def test_its_settings_are_given_in_a_recipe(run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"selector: {{name: '{NAME}', side: shortest}}\nratio: 0.5\n", encoding="utf-8"
    )
    assert select(run, tmp_path / "a", str(recipe)) == [0, 1, 2]
    assert select(run, tmp_path / "b", str(recipe), "at_least=2") == [1, 2, 3]


def test_a_wrong_setting_names_the_nearest_right_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'selector\.sid'\. Did you mean 'side'\?"):
        select_config(NAME, sid="shortest")
    with pytest.raises(ConfigError, match=r"'selector\.at_least' is -1"):
        select_config(NAME, at_least=-1)


def test_the_help_of_select_says_where_the_settings_of_a_selector_are_listed() -> None:
    help_text = " ".join(CliRunner().invoke(app, ["select", "--help"]).output.split())
    assert "atlas settings" in help_text
    assert "--ratio" not in help_text
