from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError, DataError
from atlas.records import Problem, Trajectory
from atlas.runs import read_trajectories
from atlas.store import read_records
from atlas.trajectories import workers
from atlas.trajectories.formats import rows
from atlas.trajectories.formats.openai import OpenAIFormat
from atlas.trajectories.formats.rows import Row, read_batch, read_batches, read_rows
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories


class BrokenFormat(OpenAIFormat):
    """Reads the first line, and has a bug that later ones show."""

    def convert(self, row: Row, path: Path) -> Trajectory:
        if row.index == 5:
            raise ZeroDivisionError("a bug")
        if row.index == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        print("astray")
        return super().convert(row, path)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is worth several workers, and goes to them in small pieces."""
    monkeypatch.setattr(workers, "MIN_BYTES", 0)
    monkeypatch.setattr(rows, "BATCH_BYTES", 700)


def chat(number: int, *texts: str) -> str:
    messages = [{"role": "user", "content": f"Go {number}."}]
    messages += [{"role": "assistant", "content": text} for text in texts or ("Thought: é\n\nAction: go",)]
    return json.dumps({"messages": messages, "task_id": f"maze_{number}", "success": number % 3 > 0}, ensure_ascii=number % 2 == 0)


def dirty_lines() -> Iterator[str]:
    rng = random.Random(0)
    for number in range(60):
        yield chat(number, *["Thought: a\n\nAction: b"] * rng.randint(1, 6), rng.choice(("", "no idea", "Action: a\nb")))
        yield rng.choice(
            ("{broken", "", "  ", '{"messages": []}', chat(number // 2), chat(0), '{"messages": NaN}', "x" * 3000, chat(number))
        )


def results(path: Path, out: Path, **given: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    manifest = import_trajectories(ImportConfig(paths=(str(path),), **given), out)
    return {file.name: file.read_bytes() for file in out.glob("*.jsonl")}, manifest.summary


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    "given", [{}, {"only": ("success",), "min_steps": 2, "where": ("task~[1-5]$",)}, {"keep_duplicates": True}], ids=str
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_bytes_are_the_same_whatever_the_number_of_workers(tmp_path: Path, given: dict[str, Any], end: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(("\ufeff" + (end or "\n").join(dirty_lines()) + end).encode())
    alone = results(path, tmp_path / "1", workers=1, **given)
    assert alone[1]["problems"] > 10
    assert alone[1]["notes"]
    for number in (2, 3):
        assert results(path, tmp_path / str(number), workers=number, **given) == alone
    again = import_trajectories(ImportConfig(paths=(str(path),), workers=5, **given), tmp_path / "1")
    assert again.summary == alone[1], "the number of workers is no setting that another run folder would be needed for"


@pytest.mark.usefixtures("shared")
def test_files_of_a_folder_are_shared_one_after_the_other_under_their_names(tmp_path: Path) -> None:
    for name in ("b/x.jsonl", "a.jsonl"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "in" / name).write_text("\n".join(chat(number) for number in range(20)) + f"\n{{broken\n{chat(100 + len(name))}\n")
    (tmp_path / "in/c.json").write_text("[" + chat(200) + "]")
    alone = results(tmp_path / "in", tmp_path / "1", workers=1)
    assert results(tmp_path / "in", tmp_path / "2", workers=2) == alone
    assert [problem.where for problem in read_records(tmp_path / "2/problems.jsonl", Problem)][:2] == [
        "a.jsonl row 20 (line 21)",
        "b/x.jsonl row 0",
    ]


@given(
    lines=st.lists(st.sampled_from(["", " ", '{"a": 1}', '{"a": "' + "x" * 50 + '"}', "{broken", '{"b": 1}\r']), max_size=12),
    last=st.booleans(),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_batches_hold_every_line_once(tmp_path_factory: pytest.TempPathFactory, size: int, lines: list[str], last: bool) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    path.write_text('\ufeff{"a": 0}\n{"a": 0}\n' + "\n".join(lines) + "\n" * last)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BATCH_BYTES", size)
        batches = read_batches(path)
        assert batches is not None
        assert [item for lines in batches for item in read_batch(path, lines)] == list(read_rows(path))


def test_a_line_too_long_to_hold_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_BYTES", 1000)
    monkeypatch.setattr(rows, "BATCH_BYTES", 100)
    path = tmp_path / "x.jsonl"
    path.write_text(f"{chat(0)}\n{chat(1, 'x' * 5000)}\n{chat(2)}\n")
    items = [item for lines in read_batches(path) or () for item in read_batch(path, lines)]
    assert items == list(read_rows(path))
    assert [type(item) for item in items] == [Row, Problem, Row]


def test_a_small_import_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    (tmp_path / "x.jsonl").write_text(f"{chat(0)}\n{chat(1)}\n")
    assert results(tmp_path / "x.jsonl", tmp_path / "out", workers=4)[1]["trajectories"] == 2


@pytest.mark.usefixtures("shared")
def test_strict_stops_at_the_first_bad_line_of_the_file(tmp_path: Path) -> None:
    lines = [chat(number) for number in range(60)]
    lines[31], lines[50] = '{"messages": []}', "{broken"
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"x\.jsonl row 31 \(line 32\): no messages"):
        results(tmp_path / "x.jsonl", tmp_path / "out", workers=3, strict=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize(
    ("first", "error", "reason"),
    [(5, RuntimeError, r"in an import worker:(?s:.*)ZeroDivisionError: a bug"), (6, AtlasError, "was killed by signal 9.*--workers 1")],
)
def test_a_worker_that_breaks_ends_the_import_in_words(tmp_path: Path, first: int, error: type[Exception], reason: str) -> None:
    lines = [chat(number) for number in range(4)] + [""] * (first - 4) + [chat(number) for number in range(40)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    with pytest.raises(error, match=reason):
        results(tmp_path / "x.jsonl", tmp_path / "out", workers=2, format=f"{__name__}:BrokenFormat")
    assert not (tmp_path / "out" / "trajectories.jsonl").exists()


def start_large_import(tmp_path: Path, **popen: Any) -> subprocess.Popen[bytes]:
    """`atlas import` of many rows with two workers, once it writes."""
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f"{chat(number)}\n" for number in range(60_000)))
    script = (
        "import sys; from atlas.trajectories import workers; workers.MIN_BYTES = 0; from atlas.cli import main\n"
        "sys.argv[0] = 'atlas'; main()"
    )
    arguments = ["import", str(path), "--out", str(tmp_path / "out"), "--workers", "2"]
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], **popen)
    while process.poll() is None and not any(file.stat().st_size for file in (tmp_path / "out").glob("trajectories.jsonl.tmp")):
        time.sleep(0.005)
    return process


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def are_gone(numbers: list[int]) -> bool:
    for _ in range(400):
        if not any(Path(f"/proc/{number}").exists() for number in numbers):
            return True
        time.sleep(0.025)
    return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")
def test_ctrl_c_ends_the_workers_and_promises_nothing(tmp_path: Path) -> None:
    process = start_large_import(tmp_path, stderr=subprocess.PIPE, process_group=0)
    children = children_of(process)
    assert len(children) == 2
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.decode() == "stopped. An import keeps nothing unfinished; run the same command again to start over.\n"
    assert are_gone(children)
    assert not list((tmp_path / "out").glob("*.jsonl*"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are looked up in /proc")
def test_what_a_killed_import_left_does_not_stand_in_the_way_of_other_settings(tmp_path: Path) -> None:
    process = start_large_import(tmp_path)
    children = children_of(process)
    process.kill()
    process.wait()
    assert are_gone(children)
    assert (tmp_path / "out" / "trajectories.jsonl.tmp").exists()
    path = tmp_path / "x.jsonl"
    path.write_text(f"{chat(0)}\n{chat(1)}\n")
    assert results(path, tmp_path / "out", min_steps=1)[1]["trajectories"] == 2
    assert len(list(read_trajectories(tmp_path / "out"))) == 2
    assert not list((tmp_path / "out").glob("*.tmp"))
