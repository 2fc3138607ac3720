"""Which state an interrupted training goes on from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from atlas.training.checkpoint import newest_state

FILES = ("model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json")


def write_state(folder: Path) -> Path:
    """A state as the Trainer writes it, its last file last."""
    folder.mkdir(parents=True)
    save_file({"weight": torch.ones(50)}, folder / "model.safetensors")
    torch.save({"step": torch.ones(50)}, folder / "optimizer.pt")
    torch.save({"cpu": torch.ones(50)}, folder / "rng_state.pth")
    (folder / "trainer_state.json").write_text('{"global_step": 10}')
    return folder


def test_the_newest_state_is_that_of_the_highest_step_and_none_where_there_is_none(
    tmp_path: Path,
) -> None:
    assert newest_state(tmp_path / "nothing") is None
    for step in (9, 10, 2):
        write_state(tmp_path / f"checkpoint-{step}")
    assert newest_state(tmp_path) == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize("file", FILES)
def test_a_state_that_is_not_whole_gives_way_to_the_one_before(tmp_path: Path, file: str) -> None:
    before = write_state(tmp_path / "checkpoint-5")
    spoilt = write_state(tmp_path / "checkpoint-10") / file
    spoilt.write_bytes(spoilt.read_bytes()[:-8])
    assert newest_state(tmp_path) == str(before)
    (before / "trainer_state.json").unlink()
    assert newest_state(tmp_path) is None
