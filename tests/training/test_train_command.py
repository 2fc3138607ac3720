"""The command `atlas train`: paths and the model are options, everything else is a setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.main import get_command

from atlas.cli import app
from atlas.errors import ConfigError
from tests.parse_counts import count_parses
from tests.training.small_runs import make_runs


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "train",
            {"--trajectories", "--selection", "--model", "--objective", "--out", "--dry-run"},
        ),
        (
            "export",
            {
                "--to",
                "--trajectories",
                "--selection",
                "--out",
                "--tokenizer",
                "--check",
                "--explain",
            },
        ),
    ],
)
def test_only_paths_kinds_models_and_actions_are_options(command: str, options: set[str]) -> None:
    parameters = get_command(app).commands[command].params  # type: ignore[attr-defined]
    found = {option for parameter in parameters for option in parameter.opts}
    assert {option for option in found if option.startswith("--")} - {"--help"} == options


def test_a_dry_run_takes_settings_and_parses_each_trajectory_once(
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = make_runs(tmp_path)
    parsed = count_parses(monkeypatch)
    command = ["train", "--trajectories", str(runs[0]), "--selection", str(runs[1])]
    command += ["--model", str(tiny_model_folder), "--out", str(tmp_path / "run"), "--dry-run"]
    app([*command, "batch_size=6", "loss_normalizer=steps"], standalone_mode=False)
    text = capsys.readouterr().out
    assert "2 optimizer steps of up to 6 trajectories" in text
    assert "mean over steps" in text
    assert parsed == {f"t{index}": 1 for index in range(12)}
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"unknown key 'batch_siz'. Did you mean 'batch_size'"):
        app([*command, "batch_siz=6"], standalone_mode=False)
