"""Each objective on two gloo processes ends as on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.training.test_many_processes import finish, inputs, losses, start

__all__ = ["inputs"]
# With limits under which a random model has tokens on both sides.
SETTINGS: dict[str, tuple[str, ...]] = {
    "clip": ("high=0.05",),
    "eksft": ("max_entropy=10", "max_kl=0.001"),
    "dft": (),
    "eaft": (),
    "mask_low_probability": ("min_probability=0.0033",),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_silence_and_train_what_one_does(
    name: str, inputs: list[str], tmp_path: Path
) -> None:
    settings = (f"objective={name}", *SETTINGS[name], "epochs=2")
    runs = [start(inputs, tmp_path / str(ranks), ranks, *settings) for ranks in (1, 2)]
    for process in runs:
        finish(process)
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-4)
    one, two = (
        load_file(tmp_path / ranks / "checkpoint" / "model.safetensors") for ranks in ("1", "2")
    )
    assert all((one[key] - two[key]).abs().max() < 1e-4 for key in one)

    def shares(ranks: str) -> list[Any]:
        lines = (tmp_path / ranks / "metrics.jsonl").read_text().splitlines()
        return [(row["silenced"], row["mean_factor"]) for row in map(json.loads, lines)]

    for alone, together in zip(shares("1"), shares("2"), strict=True):
        assert together == pytest.approx(alone, abs=0.02)
