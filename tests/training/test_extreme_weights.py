"""Weights of any size: only their ratios within an optimizer step matter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atlas.errors import ModelError
from atlas.records import Annotation
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.training.train_agent import train_agent
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories
from tests.training.small_runs import quick


def runs_with_scores(folder: Path, scores: list[float]) -> tuple[Path, Path]:
    """A trajectory for each score, which all of its steps have, and a random selection."""
    trajectories = []
    for index, score in enumerate(scores):
        trajectory = make_trajectory(3 + index % 3, f"t{index}")
        scored = (
            step.model_copy(update={"annotation": Annotation(score=score)})
            for step in trajectory.steps
        )
        trajectories.append(trajectory.model_copy(update={"steps": tuple(scored)}))
    written = write_trajectories(folder / "trajectories", trajectories)
    select_steps(SelectConfig(selector="random", ratio=0.6), written, folder / "selection")
    return written, folder / "selection"


def rows(run: Path, name: str) -> list[float]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row[name] for row in map(json.loads, lines) if name in row]


SCORES = [[1e-250, 1e-50, 1e-40, 1.0, 1e30, 1e40], [1e-50] * 6, [-1e-60, -1.0, -1e-45] * 2]
NORMALIZERS = ["tokens", "steps", "trajectories"]


@pytest.mark.parametrize(
    ("normalizer", "scores"),
    [
        # Each of both in the fast tier, all pairs in the slow one.
        pytest.param(name, scores, marks=() if at == place else pytest.mark.slow)
        for at, name in enumerate(NORMALIZERS)
        for place, scores in enumerate(SCORES)
    ],
)
def test_an_optimizer_step_is_the_same_however_small_its_weights_are_beside_others(
    tiny_model_folder: Path, tmp_path: Path, normalizer: str, scores: list[float]
) -> None:
    """With one trajectory per optimizer step, its score cancels out."""
    plain = [1.0 if score > 0 else -1.0 for score in scores]
    settings = {"batch_size": 1, "loss_normalizer": normalizer, "lowest_weight": -1.0}
    config = quick(tiny_model_folder, step_weights="annotation", **settings)
    for name, given in (("plain", plain), ("extreme", scores)):
        runs = runs_with_scores(tmp_path / name, given)
        train_agent(config, *runs, tmp_path / name / "run")
    losses = rows(tmp_path / "plain" / "run", "loss")
    assert len(losses) == 12
    assert any(losses)
    assert rows(tmp_path / "extreme" / "run", "loss") == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-320, 1e-50, 1e39, 1e300])
def test_a_held_out_loss_depends_only_on_the_ratios_of_weights(
    tiny_model_folder: Path, tmp_path: Path, scale: float
) -> None:
    config = quick(tiny_model_folder, step_weights="annotation", held_out=0.4)
    for name, score in (("plain", 1.0), ("scaled", scale)):
        runs = runs_with_scores(tmp_path / name, [score] * 6)
        train_agent(config, *runs, tmp_path / name / "run")
    held = rows(tmp_path / "plain" / "run", "held_out_loss")
    assert rows(tmp_path / "scaled" / "run", "held_out_loss") == pytest.approx(held, rel=1e-4)


def test_the_error_names_the_floor_if_it_has_silenced_all_tokens(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    config = quick(
        tiny_model_folder,
        step_weights="annotation",
        lowest_weight=-1.0,
        negative_floor=0.9999,
        weight_decay=0.0,
    )
    with pytest.raises(ModelError, match=r"because negative_floor=0\.9999 has silenced all"):
        train_agent(config, *runs_with_scores(tmp_path, [-0.5] * 4), tmp_path / "run")
