"""`atlas train` as a launcher starts it: processes on this machine that talk through gloo."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from atlas.cli import app
from atlas.selection.select_steps import SelectConfig, select_steps
from tests.conftest import make_trajectory
from tests.processes import wait_for
from tests.run_folders import write_trajectories

SETTINGS = ["epochs=6", "batch_size=4", "learning_rate=1e-3", "save_every=3", "precision=fp32"]
# A rank that exits while these threads run is sometimes aborted, after all work is done.
NO_THREADS = "threads of gloo at exit: []"
PLAIN, SHARDED = "tests.training.atlas_and_threads", "tests.training.sharding_on_cpus"


# It needs the base model's probabilities.
OBJECTIVE = "objective=tests.training.test_objective_parts:Moved"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def make_inputs(model: Path, folder: Path) -> list[str]:
    """Thirteen trajectories: the last optimizer step has fewer examples than processes."""
    trajectories = write_trajectories(
        folder / "t", [make_trajectory(2 + index % 5, f"t{index}") for index in range(13)]
    )
    select_steps(SelectConfig(selector="random"), trajectories, folder / "s")
    options = {"trajectories": trajectories, "selection": folder / "s", "model": model}
    return [text for name, path in options.items() for text in (f"--{name}", str(path))]


def start(
    inputs: list[str],
    out: Path,
    ranks: int,
    *settings: str,
    module: str = PLAIN,
    launcher: tuple[str, ...] = ("--standalone",),
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """A training in another process, under torchrun if it has more than one rank."""
    torchrun = ["-m", "torch.distributed.run", *launcher, "--nproc-per-node", str(ranks)]
    command = [
        sys.executable,
        *(torchrun if ranks > 1 or launcher != ("--standalone",) else []),
        *("-m", module, "train", *inputs, "--out", str(out), *SETTINGS, *settings),
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            # A process that hangs can be asked where.
            "PYTHONFAULTHANDLER": "1",
            **(environment or {}),
        },
    )


def train_here(inputs: list[str], out: Path, *settings: str) -> None:
    """The same training as that of one process, without the start of one."""
    app(["train", *inputs, "--out", str(out), *SETTINGS, *settings], standalone_mode=False)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process that ends well has printed."""
    output, errors = wait_for(process)
    assert process.returncode == 0, errors[-3000:]
    return output, errors


def kill_a_rank_after_a_state(process: subprocess.Popen[str], out: Path) -> str:
    """Kill the last rank as soon as a state is whole. Gives what the launcher printed."""
    deadline = time.monotonic() + 200
    while not list(out.glob("resume.partial/checkpoint-*/files.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, errors = wait_for(process)
    assert process.returncode != 0
    assert "SIGKILL" in errors
    return errors


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in rows(run) if "loss" in row]


def weights(run: Path, file: str = "model") -> dict[str, Tensor]:
    return load_file(run / "checkpoint" / f"{file}.safetensors")


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Between the weights of two runs, which must have the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)
