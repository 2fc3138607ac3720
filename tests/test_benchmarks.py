"""The training benchmark at its smallest. A GPU runs the same code with other ways and clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_the_training_benchmark_measures_and_writes_what_it_found(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "train.py"),
        "--preset",
        "tiny",
        "--repetitions",
        "1",
        "--bf16",
        "--threads",
        "1",
    ]
    only = ["--only", "+ last_layer", "TRL by default", "--out", str(tmp_path / "train.json")]
    peer = ["--peers", f"trl={sys.executable}"]
    done = subprocess.run([*command, *peer, *only], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "train.json").read_text())
    figures = record["results"]["+ last_layer"]
    assert figures["operations"] == record["needed_operations"], "all parts, nothing recomputed"
    # A share of a peak that was measured moments before: on a busy machine it can be anything.
    assert figures["share_of_peak"] > 0
    assert figures["tokens_per_second"] > figures["supervised_per_second"] > 0
    assert record["matmul"][0]["versions"]["torch"]
    assert "TRL by default" in {**record["results"], **record["passed_over"]}


def test_every_way_on_either_device_has_its_operations_and_none_needs_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from train_costs import needed_operations, operations_of
    from train_data import PRESETS
    from train_ways import WAYS, chats_of

    preset = PRESETS["tiny"]
    chats = chats_of(preset, 0)
    needed = needed_operations(preset, chats, 8192)
    found = {
        (device, name): operations_of(way, preset, chats, 8192)
        for device, ways in WAYS.items()
        for name, way in ways.items()
    }
    exact = {name: operations for name, operations in found.items() if "not exact" not in name[1]}
    assert min(exact.values()) == needed
    assert (
        found["cpu", "TRL by default"]
        > found["cpu", "TRL, sorted, no checkpointing"]
        > found["cuda", "TRL, padding-free, flash"]
    )


def test_the_benchmark_of_playing_measures_each_way_on_the_same_tasks(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("minigrid")
    command = [sys.executable, str(BENCHMARKS / "rollout.py"), "--model", str(tiny_model_folder)]
    command += ["--episodes", "2", "--worlds", "2", "--max-steps", "2", "--max-new-tokens", "4"]
    only = ["--only", "ours, fp32", "generate", "continuous"]
    out = tmp_path / "rollout.json"
    done = subprocess.run([*command, *only, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert not record["failed"]
    assert len(record["results"]) == 3
    for figures in record["results"].values():
        assert figures["answers"] == 4
        assert figures["tokens"] <= 16
        assert figures["cpu_ms_per_token"] > 0
