"""Which state an interrupted training goes on from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atlas.errors import RunError
from atlas.training.checkpoint import newest_state
from atlas.training.states import save_state, seal_state

FILES = (
    "weights.safetensors",
    "digests.json",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "since_log.json",
    "trainer_state.json",
    "files.json",
)


def write_state(folder: Path) -> Path:
    """A state as the Trainer writes it, its last file last."""
    save_state(folder, torch.nn.Linear(50, 1))
    torch.save({"step": torch.ones(50)}, folder / "optimizer.pt")
    torch.save({"last_epoch": torch.ones(50)}, folder / "scheduler.pt")
    torch.save({"cpu": torch.ones(50)}, folder / "rng_state.pth")
    (folder / "since_log.json").write_text('{"num_steps": 0, "sums": [[0.0, 0.0]]}')
    (folder / "trainer_state.json").write_text('{"global_step": 10}')
    seal_state(folder)
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


@pytest.mark.parametrize("file", FILES)
def test_a_state_that_lacks_a_file_gives_way_to_the_one_before(tmp_path: Path, file: str) -> None:
    before = write_state(tmp_path / "checkpoint-5")
    (write_state(tmp_path / "checkpoint-10") / file).unlink()
    assert newest_state(tmp_path) == str(before)


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".json")])
@pytest.mark.parametrize("content", ["[]", "{}", '{"global_step": 9}', '{"num_steps": "x"}'])
def test_a_state_with_another_file_in_it_gives_way_to_the_one_before(
    tmp_path: Path, file: str, content: str
) -> None:
    before = write_state(tmp_path / "checkpoint-5")
    state = write_state(tmp_path / "checkpoint-10")
    (state / file).write_text(content)
    assert newest_state(tmp_path) == str(before)
    (tmp_path / "checkpoint-x").mkdir()
    other = write_state(tmp_path / "checkpoint-12")
    torch.save({"step": torch.zeros(50)}, other / "optimizer.pt")
    assert newest_state(tmp_path) == str(before)


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.pt"])
def test_a_state_with_one_changed_bit_gives_way_to_the_one_before(
    tmp_path: Path, file: str
) -> None:
    before = write_state(tmp_path / "checkpoint-5")
    spoilt = write_state(tmp_path / "checkpoint-10") / file
    content = bytearray(spoilt.read_bytes())
    # The ones of the optimizer's tensor, or the last weights.
    place = content.find(b"\x00\x00\x80\x3f" * 8) if file == "optimizer.pt" else len(content) - 9
    content[place + 1] ^= 1
    spoilt.write_bytes(content)
    assert newest_state(tmp_path) == str(before)


def test_a_state_without_digests_is_refused(tmp_path: Path) -> None:
    state = write_state(tmp_path / "checkpoint-10")
    (state / "digests.json").unlink()
    (state / "files.json").unlink()
    (state / "weights.safetensors").rename(state / "model.safetensors")
    with pytest.raises(RunError, match="checkpoint-10 was written by an earlier version"):
        newest_state(tmp_path)
