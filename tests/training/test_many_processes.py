"""`atlas train` under torchrun: two gloo processes on one machine end as one process does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from atlas.selection.select_steps import SelectConfig, select_steps
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories

SETTINGS = ["epochs=6", "batch_size=4", "learning_rate=1e-3", "save_every=3", "precision=fp32"]
# A rank that exits while these threads run is sometimes aborted, after all work is done.
NO_THREADS = "threads of gloo at exit: []"


@pytest.fixture(scope="module")
def inputs(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Thirteen trajectories: the last optimizer step has fewer examples than processes."""
    folder = tmp_path_factory.mktemp("inputs")
    trajectories = write_trajectories(
        folder / "t", [make_trajectory(2 + index % 5, f"t{index}") for index in range(13)]
    )
    select_steps(SelectConfig(selector="random"), trajectories, folder / "s")
    return [
        "--trajectories",
        str(trajectories),
        "--selection",
        str(folder / "s"),
        "--model",
        str(tiny_model_folder),
    ]


def start(inputs: list[str], out: Path, ranks: int, *settings: str) -> subprocess.Popen[str]:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        if ranks > 1
        else []
    )
    command = [
        sys.executable,
        *launcher,
        "-m",
        "tests.training.atlas_and_threads",
        "train",
        *inputs,
        "--out",
        str(out),
        *SETTINGS,
        *settings,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process that ends well has printed."""
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors[-2000:]
    return output, errors


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_to_the_same_losses_and_weights_as_one_and_print_once(
    inputs: list[str], tmp_path: Path
) -> None:
    alone, together = start(inputs, tmp_path / "one", 1), start(inputs, tmp_path / "two", 2)
    finish(alone)
    output, errors = finish(together)
    assert output.count("\nout:") == 1
    assert errors.count(NO_THREADS) == 2
    assert len(losses(tmp_path / "two")) == 20
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    one, two = (
        load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert all((one[name] - two[name]).abs().max() < 1e-4 for name in one)


def test_two_processes_have_the_held_out_loss_of_one(inputs: list[str], tmp_path: Path) -> None:
    settings = ("held_out=0.4", "held_out_every=2", "epochs=2")
    alone = start(inputs, tmp_path / "one", 1, *settings)
    together = start(inputs, tmp_path / "two", 2, *settings)
    finish(alone)
    finish(together)
    one, two = (
        [row for line in lines if "held_out_loss" in (row := json.loads(line))]
        for lines in (
            (tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two")
        )
    )
    assert [row["step"] for row in two] == [row["step"] for row in one]
    values = [row["held_out_loss"] for row in one]
    assert values[-1] < values[0]
    assert [row["held_out_loss"] for row in two] == pytest.approx(values, rel=1e-4)


def test_a_mistake_is_said_once_and_ends_all(inputs: list[str], tmp_path: Path) -> None:
    process = start(inputs, tmp_path / "run", 2, "batch_size=1")
    output, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output == ""
    assert (
        errors.count(
            "error: batch_size=1 counts the trajectories of an optimizer step over all 2 processes"
        )
        == 1
    )


def test_an_error_in_the_middle_leaves_no_threads(inputs: list[str], tmp_path: Path) -> None:
    process = start(inputs, tmp_path / "run", 2, "learning_rate=1e30", "max_grad_norm=1e30")
    output, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output == ""
    assert "error: training has diverged" in errors
    assert NO_THREADS in errors


@pytest.mark.slow
def test_a_killed_rank_ends_all_and_the_run_goes_on_to_the_same_losses(
    inputs: list[str], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(inputs, whole, 2, "epochs=40"))
    process = start(inputs, killed, 2, "epochs=40")
    deadline = time.monotonic() + 120
    while not list(killed.glob("resume.partial/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "SIGKILL" in errors
    finish(start(inputs, killed, 2, "epochs=40"))
    assert losses(killed) == losses(whole)
    written = (killed / "manifest.json").stat().st_mtime_ns
    finish(start(inputs, killed, 2, "epochs=40"))
    assert (killed / "manifest.json").stat().st_mtime_ns == written, (
        "all processes pass over a finished run"
    )
