"""The benchmark of experts plays what `atlas collect` would write, and counts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.config import load_config
from atlas.errors import ConfigError
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
from benchmarks.experts import figures_of, main, play_expert


def config(*settings: str) -> CollectConfig:
    return load_config(CollectConfig, None, [*settings, "episodes=6"], {"environment": "maze"})


def test_it_plays_the_episodes_of_collect(tmp_path: Path) -> None:
    played = play_expert(config("seed=3"))
    collect_experts(config("seed=3", "workers=1"), tmp_path / "run")
    lines = (tmp_path / "run" / "trajectories.jsonl").read_text().splitlines()
    collected = [
        [step["response"]["content"] for step in json.loads(one)["steps"]] for one in lines
    ]
    assert [[step.response.content for step in one.steps] for one in played.trajectories] == (
        collected
    )


def test_the_figures_are_shares_of_steps() -> None:
    played = play_expert(config())
    figures = figures_of(played.trajectories)
    num_steps = sum(len(one.steps) for one in played.trajectories)
    marked = [
        step
        for one in played.trajectories
        for step in one.steps
        if step.annotation is not None and step.annotation.is_marked
    ]
    assert (figures["episodes"], figures["success"], figures["rate"]) == (6, 6, 1.0)
    assert figures["marked"] == round(len(marked) / num_steps, 4)
    assert figures["steps"] == round(num_steps / 6, 2)


def test_the_command_writes_a_row_per_environment_and_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "experts.json"
    words = ["experts", "maze", "wordle", "--by-group", "--out", str(out), "episodes=3"]
    monkeypatch.setattr("sys.argv", words)
    main()
    rows = json.loads(out.read_text())["rows"]
    assert [row["group"] for row in rows if row["environment"] == "wordle"] == ["all", "40 words"]
    assert all(row["success"] == row["episodes"] for row in rows)
    assert "3/3" in capsys.readouterr().out


def test_an_unknown_split_ends_it_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match="held_in_test"):
        play_expert(config("split=held_in"))


def test_settings_without_an_environment_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["experts", "episodes=3"])
    with pytest.raises(SystemExit):
        main()
    assert "no environment is named" in capsys.readouterr().err
