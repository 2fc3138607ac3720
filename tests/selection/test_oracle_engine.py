"""A real engine with a tiny, senseless model: an unusable answer is a problem, not a crash."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import DataError, EndpointError, ModelError
from atlas.records import Selection
from atlas.selection.select_steps import select_steps
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories
from tests.selection.configs import select_config

START_SECONDS = 180


@pytest.fixture(scope="module")
def engine(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve`."""
    for package in ("fastapi", "uvicorn"):
        pytest.importorskip(package, reason="transformers serve needs transformers[serving]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    said = tmp_path_factory.mktemp("engine") / "said"
    with said.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        wait_until_it_listens(process, port, said)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int, said: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, said.read_text()[-2_000:]
        assert time.monotonic() < deadline, said.read_text()[-2_000:]
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)


def outcome(engine: str, model: Path, run: Path, out: Path, **settings: Any) -> str:
    """Which error ended the run, or nothing."""
    values = {
        "selector": "oracle",
        "model": str(model),
        "base_url": engine,
        "max_tokens": 24,
        "max_in_flight": 2,
        "timeout_seconds": 120.0,
    }
    try:
        select_steps(select_config(**{**values, "max_retries": 1, **settings}), run, out)
    except (DataError, EndpointError, ModelError) as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_a_senseless_model_ends_in_recorded_problems(
    engine: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    run = write_trajectories(
        tmp_path / "trajectories", [make_trajectory(2, f"t{number}") for number in range(4)]
    )
    said = outcome(engine, tiny_model_folder, run, tmp_path / "out", structured=False)
    assert "selected no step of 4 trajectories, because no answer was usable" in said
    selections = [
        Selection(**json.loads(line))
        for line in (tmp_path / "out" / "selections.jsonl.partial").read_text().splitlines()
    ]
    assert sorted(one.trajectory_id for one in selections) == ["t0", "t1", "t2", "t3"]
    assert all(selection.problem and selection.usage.requests == 2 for selection in selections)


@pytest.mark.slow
def test_a_model_that_the_engine_does_not_have_stops_the_run_with_its_words(
    engine: str, tmp_path: Path
) -> None:
    run = write_trajectories(tmp_path / "trajectories", [make_trajectory(2, "t")])
    said = outcome(engine, Path("no-such-model"), run, tmp_path / "out")
    assert "no-such-model" in said
