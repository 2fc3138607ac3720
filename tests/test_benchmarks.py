"""The training benchmark at its smallest. A GPU runs the same code with other ways and clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.config import check_config
from atlas.selection.scores import StepScores
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_no_benchmark_hides_a_module_of_python() -> None:
    """`python benchmarks/NAME.py` finds the files beside it before Python's own modules."""
    hidden = {file.stem for file in BENCHMARKS.glob("*.py")} & sys.stdlib_module_names
    assert hidden == set()


def test_every_benchmark_is_started_by_its_path() -> None:
    """`python -m` would not find the files beside it."""
    root = BENCHMARKS.parent
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("src/**/*.py")]
    by_module = {
        str(file.relative_to(root))
        for file in [*pages, *BENCHMARKS.glob("*.py")]
        if "-m benchmarks" in file.read_text(encoding="utf-8")
    }
    assert by_module == set()


def test_the_benchmark_of_selectors_measures_each_row_and_asks_an_oracle(tmp_path: Path) -> None:
    """The answers name step 1 everywhere, so an oracle agrees and a choice by position does."""
    rows = []
    for number in range(12):
        turns = [("human", "Find the key."), ("gpt", "OK.")]
        for index in range(5):
            turns.append(("human", f"You are in room {number}, place {index}."))
            turns.append(("gpt", f"Thought:\nI go on to {index}.\n\nAction:\ngo {number} {index}"))
        said = [{"from": who, "loss": who == "gpt", "value": text} for who, text in turns]
        rows.append({"conversations": said, "item_id": f"babyai_{number}"})
    source, labels, work = tmp_path / "agenttraj", tmp_path / "labels", tmp_path / "work"
    source.mkdir()
    labels.mkdir()
    (source / "babyai_train.json").write_text(json.dumps(rows))
    manifest = import_trajectories(
        ImportConfig(paths=(str(source / "babyai_train.json"),)), tmp_path / "imported"
    )
    assert manifest.summary["trajectories"] == 12
    step = {"index": 1, "kind": "critical_action", "reason": "It turns.", "confidence": 0.9}
    answers = [
        {"id": one.id, "answer": {"plan": "Go on.", "critical_steps": [step]}}
        for one in read_trajectories(tmp_path / "imported")
    ]
    lines = "".join(json.dumps(answer) + "\n" for answer in answers)
    for name in ("babyai", "second_reading"):
        (labels / f"{name}.jsonl").write_text(lines)
    command = [sys.executable, str(BENCHMARKS / "selector_agreement.py"), "--labels", str(labels)]
    command += ["--trajectories", str(source), "--work", str(work), "--worlds", "textcraft"]
    command += ["--episodes", "6", "--only", "oracle", "random", "rules", "perplexity", "annotated"]
    out = tmp_path / "out.json"
    for _ in range(2):
        done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    found = {(one["data"], one["row"]): one for one in json.loads(out.read_text())["rows"]}
    assert found["oracle:babyai", "position"]["kappa"][0] == 1.0
    assert found["oracle:babyai", "oracle"]["kappa"][0] == 1.0
    assert found["oracle:babyai", "second reader"]["trajectories"] == 12
    assert found["oracle:babyai", "perplexity"]["not_measured"] == "give --model"
    assert found["oracle:babyai", "random"]["kappa"][0] < 1.0
    assert found["expert:textcraft", "rules"]["trajectories"] > 0
    layers = found["oracle:babyai", "rules, worse judge, agreement 0.5"]["layers"]
    assert [one["requests"] for one in layers][:2] == [0, 12]
    assert 0 < layers[2]["requests"] < 12
    assert "| babyai | rules, worse judge, agreement 0.5 |" in done.stdout


def test_the_benchmark_of_selectors_scores_what_was_read_once_as_a_run_does(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from selector_readings import Readings

    trajectories = [make_trajectory(5, "a"), make_trajectory(8, "b")]
    run = write_trajectories(tmp_path / "t", trajectories)
    readings = Readings(tiny_model_folder, "fp32", tmp_path / "readings")
    for name, settings in (
        ("hindsight", {}),
        ("entropy", {"band": [0.2, 0.8]}),
        ("perplexity", {}),
    ):
        found = readings.scores(name, settings, trajectories)
        own = {"name": name, "model": str(tiny_model_folder), "precision": "fp32", **settings}
        config = check_config(SelectConfig, {"selector": own}, where="test")
        select_steps(config, run, tmp_path / name)
        for scores in read_records(tmp_path / name / "scores.jsonl", StepScores):
            assert tuple(found[scores.trajectory_id]) == scores.scores
    # Each trajectory was read as it is, and with its outcome.
    assert len([*readings.folder.iterdir()]) == 4
