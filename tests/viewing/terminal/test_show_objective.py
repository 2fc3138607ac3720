from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from atlas.cli import app
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories


def test_show_marks_what_an_objective_silences(tmp_path: Path, tiny_model_folder: Path) -> None:
    run = write_trajectories(tmp_path / "t", [make_trajectory(2, "room")])
    given = ["show", str(run), "--trajectory", "room", "--tokens"]
    given += ["--tokenizer", str(tiny_model_folder), "objective=mask_low_probability"]
    shown = CliRunner().invoke(app, [*given, "objective.min_probability=0.5"])
    assert shown.exit_code == 0, shown.output
    assert "⟪" in shown.output
    assert "silenced" in shown.output
    plain = CliRunner().invoke(app, ["show", str(run), "loss=true"])
    assert plain.exit_code != 0
