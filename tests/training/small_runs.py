"""Run folders that are quickly trained on, and how."""

from __future__ import annotations

import json
from pathlib import Path

from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.training.config import TrainConfig
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories


def make_runs(folder: Path) -> tuple[Path, Path]:
    """Twelve trajectories and a random selection of a third of their steps."""
    trajectories = write_trajectories(
        folder / "trajectories",
        [make_trajectory(2 + index % 5, f"t{index}") for index in range(12)],
    )
    select_steps(SelectConfig(selector="random"), trajectories, folder / "selection")
    return trajectories, folder / "selection"


def quick(model: Path, **changes: object) -> TrainConfig:
    settings = {
        "model": str(model),
        "epochs": 2,
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 1e-3,
        "precision": "fp32",
    }
    return TrainConfig.model_validate(settings | changes)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
