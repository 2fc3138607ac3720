"""`engine.micro_batch_tokens: auto` is chosen for the cores and the memory, once for a run."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from atlas.errors import RunError
from atlas.training import chosen_rows
from atlas.training.available_memory import available_memory
from atlas.training.checkpoint import RESUME_FOLDER
from atlas.training.chosen_rows import (
    MARGIN,
    Candidate,
    MemoryOfEach,
    choose_candidate,
    choose_rows,
    keep_rows,
    memory_of_each,
    problem_of_memory,
    rows_so_far,
    with_rows,
)
from atlas.training.config import LONGEST_ROW, TrainConfig
from atlas.training.dry_run import print_training_plan
from atlas.training.examples import TrainingExample
from atlas.training.model_shape import measure_shape
from atlas.training.ranks import Ranks
from atlas.training.schedule import Schedule
from atlas.training.train_agent import train_agent
from tests.training.small_runs import make_runs, quick
from tests.training.test_resume import assert_same_files, interrupt

GIB = 2.0**30
ALONE = MemoryOfEach(1, None)
# SmolLM2-135M on BabyAI: shorter rows share fewer prompts.
SHARING = [
    Candidate(8192, 10.0 * GIB, 100),
    Candidate(4096, 6.0 * GIB, 104),
    Candidate(2048, 4.0 * GIB, 116),
    Candidate(1024, 3.0 * GIB, 140),
]
ALIKE = [one._replace(num_tokens=100) for one in SHARING]


def auto(model: Path, **changes: object) -> TrainConfig:
    return quick(model, engine={"micro_batch_tokens": "auto"}, **changes)


def schedule_of(*lengths: int) -> Schedule:
    ids = [np.arange(length, dtype=np.int32) % 50 + index for index, length in enumerate(lengths)]
    made = [(TrainingExample(str(len(one)), one, one.astype(np.int64)),) for one in ids]
    return Schedule.in_order(made, len(made))


@pytest.mark.parametrize(
    ("candidates", "available", "enough", "size"),
    [
        (SHARING, None, 1024, 8192),
        (SHARING, 24, 1024, 8192),
        (SHARING, 8, 1024, 4096),
        (SHARING, 5, 1024, 2048),
        (SHARING, 3.5, 1024, 1024),
        (ALIKE, 24, 1024, 1024),
        (ALIKE, 24, 4096, 4096),
        (ALIKE, 5, 4096, 2048),
    ],
)
def test_the_shortest_row_that_costs_hardly_more_and_fits_is_chosen(
    candidates: list[Candidate], available: float | None, enough: int, size: int
) -> None:
    bytes_here = None if available is None else available * GIB
    assert choose_candidate(candidates, bytes_here, enough).micro_batch_tokens == size


def test_where_nothing_fits_the_least_is_taken_and_the_reason_says_so() -> None:
    found = choose_candidate(SHARING, 2.0 * GIB, 1024)
    assert found.micro_batch_tokens == 1024
    assert "3.0 GiB of 2.0 GiB that are available" in str(found.reason)
    assert "shorter ones not less" in str(found.reason)


@pytest.mark.parametrize("rows", ["auto", 512])
def test_a_training_that_may_not_fit_warns_wherever_its_rows_come_from(
    tiny_model_folder: Path, rows: int | str
) -> None:
    """Rows set by hand, shared by arms or kept for a resume were not chosen for this memory."""
    config = quick(tiny_model_folder, engine={"micro_batch_tokens": rows})
    shape, schedule = measure_shape(str(tiny_model_folder), config), schedule_of(300, 700)
    chosen = choose_rows(config, shape, schedule, "fp32", ALONE)
    config = with_rows(config, chosen.micro_batch_tokens)

    def problem(available: float | None) -> str | None:
        return problem_of_memory(config, shape, schedule, "fp32", MemoryOfEach(1, available))

    assert problem(None) is None
    assert problem(100 * GIB) is None
    assert "may run out of memory" in str(problem(1e6))


def test_what_is_chosen_fits_if_anything_does_and_is_never_slower_than_needed() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        memory = np.sort(rng.uniform(1, 20, 5))[::-1]
        tokens = np.sort(rng.integers(100, 200, 5))
        sizes = [512 * 2**power for power in range(4, -1, -1)]
        candidates = [Candidate(*one) for one in zip(sizes, memory, tokens, strict=True)]
        available, enough = float(rng.uniform(1, 25)), int(rng.choice([512, 2048, 8192]))
        size = choose_candidate(candidates, available, enough).micro_batch_tokens
        (chosen,) = [one for one in candidates if one.size == size]
        fits = [one for one in candidates if one.memory * MARGIN <= available]
        if not fits:
            assert chosen.memory == min(one.memory for one in candidates)
            continue
        assert chosen in fits
        better = [one for one in fits if one.size >= enough]
        if better:
            assert chosen.size >= enough
            assert chosen.num_tokens <= 1.02 * min(one.num_tokens for one in better)


def test_a_container_and_the_machine_limit_what_is_available(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("proc/meminfo", "MemTotal:  1000 kB\nMemAvailable:  600 kB\n")
    write("proc/self/status", "Name: python\nVmRSS:  100 kB\n")
    assert available_memory("cpu", 1, tmp_path) == 700 * 1024
    write("sys/fs/cgroup/memory.max", "max\n")
    write("sys/fs/cgroup/memory.current", "5\n")
    assert available_memory("cpu", 1, tmp_path) == 700 * 1024
    write("sys/fs/cgroup/memory.max", f"{500 * 1024}\n")
    write("sys/fs/cgroup/memory.current", f"{300 * 1024}\n")
    write("sys/fs/cgroup/memory.stat", f"anon 7\ninactive_file {50 * 1024}\n")
    assert available_memory("cpu", 1, tmp_path) == (500 - 300 + 50 + 100) * 1024


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("limited", ["", "job", "job/step"])
def test_the_limit_of_any_group_above_this_process_holds(
    tmp_path: Path, version: int, limited: str
) -> None:
    """As slurm and systemd set them. Without a limit, version 1 has a huge number."""
    mount = tmp_path / "sys/fs/cgroup" / ("memory" if version == 1 else "")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    names, none = ((names, 2**63 - 4096), (("memory.max", "memory.current"), "max"))[version - 1]
    for group in ("", "job", "job/step"):
        (mount / group).mkdir(parents=True, exist_ok=True)
        for name, text in zip(names, (500_000 if group == limited else none, 300_000), strict=True):
            (mount / group / name).write_text(f"{text}\n")
        files = "inactive_file 10000\ntotal_inactive_file 50000\n"
        (mount / group / "memory.stat").write_text(files)
    of_process = tmp_path / "proc/self"
    of_process.mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemAvailable:  600000 kB\n")
    (of_process / "status").write_text("VmRSS:  100 kB\n")
    line = "4:cpu,memory:/job/step\n0::/\n" if version == 1 else "0::/job/step\n"
    (of_process / "cgroup").write_text(line)
    free = 500_000 - 300_000 + (50_000 if version == 1 else 10_000)
    assert available_memory("cpu", 1, tmp_path) == free + 100 * 1024
    assert available_memory("cpu", 4, tmp_path) == free / 4 + 100 * 1024
    # The path is that of the machine, and the container sees its own group only.
    (of_process / "cgroup").write_text(line.replace("/job", "/docker/x/job"))
    if limited == "":
        assert available_memory("cpu", 1, tmp_path) == free + 100 * 1024


def test_processes_share_a_machine_and_the_least_memory_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two processes here, and one on a machine with less."""

    class Three(Ranks):
        def gather(self, value: Any) -> list[Any]:
            others = {str: ["elsewhere"], float: [5.0]}.get(type(value), [False])
            return [value, value, *others]

    memory = {("cpu", 2): 7.0}
    monkeypatch.setattr(chosen_rows, "available_memory", lambda *given: memory[given])
    assert memory_of_each(Three(0, 3)) == MemoryOfEach(3, 5.0)


def test_rows_are_shorter_where_less_memory_is_available(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path
) -> None:
    config = auto(tiny_model_folder, micro_batch_size=None)
    shape, schedule = measure_shape(str(tiny_model_folder), config), schedule_of(*[400] * 30)
    monkeypatch.setattr(chosen_rows, "_enough_for_cores", lambda: LONGEST_ROW)
    sizes = []
    for available in (100.0 * GIB, 0.62 * GIB, 1.0):
        memory = MemoryOfEach(1, available)
        sizes.append(choose_rows(config, shape, schedule, "fp32", memory).micro_batch_tokens)
    assert sizes[0] == LONGEST_ROW
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < LONGEST_ROW


def test_a_given_number_is_neither_chosen_nor_kept(tiny_model_folder: Path, tmp_path: Path) -> None:
    config = quick(tiny_model_folder, engine={"micro_batch_tokens": 77})
    found = keep_rows(config, "nowhere", schedule_of(9), "fp32", ALONE, tmp_path / "states")
    assert (found.micro_batch_tokens, found.reason) == (77, None)
    assert not (tmp_path / "states").exists()


@pytest.mark.parametrize("text", ["", "{}", '{"micro_batch_tokens": "many"}', "[1]"])
def test_a_choice_that_was_damaged_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.choice.json").write_text(text)
    with pytest.raises(RunError, match=r"rows\.choice\.json cannot be read"):
        rows_so_far(tmp_path)


def test_compared_runs_have_the_same_rows(tiny_model_folder: Path, tmp_path: Path) -> None:
    config, place = auto(tiny_model_folder), str(tiny_model_folder)
    found = []
    for name, available in (("first", 100.0 * GIB), ("second", 1.0)):
        memory, schedule = MemoryOfEach(1, available), schedule_of(400, 300)
        of_run = schedule, "fp32", memory, tmp_path / name, tmp_path / "shared"
        found.append(keep_rows(config, place, *of_run))
    assert found[0] == found[1]


def test_a_run_that_is_resumed_where_less_memory_is_available_gives_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs = make_runs(tmp_path)
    config = auto(tiny_model_folder, micro_batch_size=None, save_every=3)
    monkeypatch.setattr(chosen_rows, "_enough_for_cores", lambda: LONGEST_ROW)
    whole = train_agent(config, *runs, tmp_path / "whole")
    assert whole.summary["micro_batch_tokens"] == LONGEST_ROW
    assert "that are available" in whole.summary["rows_reason"]
    interrupt(monkeypatch, config, runs, tmp_path / "resumed")
    monkeypatch.setattr(chosen_rows, "available_memory", lambda *_: 1.0)
    resumed = train_agent(config, *runs, tmp_path / "resumed")
    assert resumed.summary["micro_batch_tokens"] == LONGEST_ROW
    assert_same_files(tmp_path, "checkpoint/model.safetensors")


@pytest.mark.parametrize("number", [40, LONGEST_ROW])
def test_a_run_that_was_started_with_a_number_goes_on_with_it(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path, number: int
) -> None:
    """Before rows were chosen, every run had one."""
    runs = make_runs(tmp_path)
    given = quick(
        tiny_model_folder,
        micro_batch_size=None,
        save_every=3,
        engine={"micro_batch_tokens": number},
    )
    train_agent(given, *runs, tmp_path / "whole")
    interrupt(monkeypatch, given, runs, tmp_path / "resumed")
    config = auto(tiny_model_folder, micro_batch_size=None, save_every=3)
    expected = f"of up to {number:,} tokens: the run was started with this number (chosen when"
    assert expected in plan_of(config, runs, tmp_path / "resumed")
    resumed = train_agent(config, *runs, tmp_path / "resumed")
    assert resumed.summary["micro_batch_tokens"] == number
    assert_same_files(tmp_path, "checkpoint/model.safetensors")


def test_a_dry_run_shows_what_a_started_run_has_chosen(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs = make_runs(tmp_path)
    config = auto(tiny_model_folder, precision="auto", save_every=3)
    interrupt(monkeypatch, config, runs, tmp_path / "out")
    states = tmp_path / "out" / RESUME_FOLDER
    kept = {"micro_batch_tokens": 1234, "reason": "they need little"}
    (states / "rows.choice.json").write_text(json.dumps(kept))
    (states / "precision.choice.json").write_text(
        json.dumps({"precision": "bf16", "reason": "faster"})
    )
    started, other = (plan_of(config, runs, tmp_path / name) for name in ("out", "other"))
    assert "rows:        of up to 1,234 tokens: they need little (chosen when this run" in started
    assert "precision:   faster (chosen when this run was started)" in started
    assert "chosen when" not in other
    assert "that are available" in other
    assert not (tmp_path / "other").exists()


def test_a_dry_run_chooses_again_where_the_training_would(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    """A choice without work is made again."""
    runs, config = make_runs(tmp_path), auto(tiny_model_folder)

    def fail(*_: object, **__: object) -> None:
        raise OSError("no model")

    with monkeypatch.context() as patched:
        patched.setattr("atlas.training.tune_model._load", fail)
        with pytest.raises(OSError, match="no model"):
            train_agent(config, *runs, tmp_path / "out")
    choice = tmp_path / "out" / RESUME_FOLDER / "rows.choice.json"
    choice.write_text(json.dumps({"micro_batch_tokens": 1234, "reason": "they need little"}))
    planned = plan_of(config, runs, tmp_path / "out")
    assert "1,234" not in planned
    number = train_agent(config, *runs, tmp_path / "out").summary["micro_batch_tokens"]
    assert f"of up to {number:,} tokens" in planned


def test_a_dry_run_shows_the_rows_of_a_training_with_own_passes(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    """Rows then share no prompts, so other ones pay."""
    settings = json.loads((tiny_model_folder / "config.json").read_text())
    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    lengths = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    changed = settings | {"rope_parameters": lengths, "max_position_embeddings": 20}
    (model / "config.json").write_text(json.dumps(changed))
    config, runs = auto(model, micro_batch_size=None), make_runs(tmp_path)
    planned = plan_of(config, runs, tmp_path / "out")
    assert "each sequence has a separate forward pass" in planned
    summary = train_agent(config, *runs, tmp_path / "out").summary
    (line,) = [one for one in planned.splitlines() if one.startswith("rows:")]
    assert line.startswith(f"rows:        of up to {summary['micro_batch_tokens']:,} tokens")
    needed = summary["rows_reason"].split(" of ")[0]
    assert needed in line


def plan_of(config: TrainConfig, runs: tuple[Path, Path], out: Path) -> str:
    console = Console(record=True, width=400, file=io.StringIO())
    print_training_plan(console, config, *runs, out)
    return console.export_text()
