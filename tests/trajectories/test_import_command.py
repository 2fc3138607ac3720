"""`atlas import`: paths, a recipe and settings among the arguments; formats with settings."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from atlas.cli import app
from atlas.errors import ConfigError
from atlas.store.readers import read_trajectories
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from tests.extending_rows import write_examples

CSV = "episode;observation;response\na;door;open\na;room;go\nb;wall;\n"


def chat(text: str, **fields: Any) -> str:
    messages = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages, **fields})


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["import", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def responses(out: Path) -> list[str]:
    return [step.response.content for each in read_trajectories(out) for step in each.steps]


@pytest.fixture
def csv_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The format of docs/extending.md, importable as users have it."""
    write_examples(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_lab", "my_lab.logs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "my_lab.logs:CsvFormat"


def test_settings_stand_among_the_paths(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    rows = [chat("a", success=True), chat("b", success=False), chat("c", task_id="maze_1")]
    path.write_text("\n".join(rows))
    run(path, "only=[success, unknown]", "where=task~maze", "--out", tmp_path / "out")
    assert responses(tmp_path / "out") == ["c"]
    run(path, "strict=true", "only=success", "min_steps=1", "--out", tmp_path / "again")
    assert responses(tmp_path / "again") == ["a"]


def test_an_existing_path_with_an_equals_sign_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "split=train").mkdir()
    (tmp_path / "split=train" / "x.jsonl").write_text(chat("a"))
    run("split=train", "--out", "out")
    run("split=train/*.jsonl", "--out", "again")
    assert responses(tmp_path / "out") == responses(tmp_path / "again") == ["a"]


def test_a_setting_that_is_given_twice_is_an_error_that_shows_the_list(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"where is given twice.*where='\[A, B\]'"):
        run("x", "where=task~a", "where=task~b", "--out", tmp_path / "out")


def test_a_recipe_gives_paths_and_a_format_with_settings(tmp_path: Path, csv_format: str) -> None:
    (tmp_path / "x.csv").write_text(CSV)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"paths: {tmp_path / 'x.csv'}\nformat: {{name: '{csv_format}', delimiter: ';'}}\n"
    )
    run(recipe, "--out", tmp_path / "out")
    assert responses(tmp_path / "out") == ["open", "go"]


def test_an_outside_format_takes_its_settings_from_the_command_line(
    tmp_path: Path, csv_format: str
) -> None:
    (tmp_path / "x.csv").write_text(CSV)
    output = run(
        tmp_path / "x.csv", "--format", csv_format, "delimiter=;", "--out", tmp_path / "out"
    )
    assert responses(tmp_path / "out") == ["open", "go"]
    assert "1 × a step without a response" in output
    with pytest.raises(ConfigError, match="Did you mean 'delimiter'"):
        run(tmp_path / "x.csv", "--format", csv_format, "delimter=;", "--out", tmp_path / "no")
    config = ImportConfig(
        paths=str(tmp_path / "x.csv"), format={"name": csv_format, "delimiter": ";"}
    )
    assert import_trajectories(config, tmp_path / "out").summary["formats"] == {csv_format: 1}


def test_standard_input_is_read_in_an_outside_format(
    tmp_path: Path, csv_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(CSV.encode())))
    config = ImportConfig(paths=("-",), format={"name": csv_format, "delimiter": ";"})
    import_trajectories(config, tmp_path / "out")
    assert responses(tmp_path / "out") == ["open", "go"]
