"""A large file is converted by several processes, and nobody sees it in what comes out."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ConfigError, DataError, RunError
from atlas.records import Trajectory
from atlas.trajectories import import_workers
from atlas.trajectories.formats import read_rows
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.read_rows import line_chunks, rows_of_lines
from atlas.trajectories.formats.rows import SourceRow
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from tests.conftest import make_trajectory
from tests.opened_files import opens_of
from tests.processes import wait_for
from tests.run_folders import write_trajectories

OUTPUTS = ("trajectories.jsonl", "problems.jsonl", "notes.jsonl")
KILLS_ITSELF = (
    "import os\n"
    "import atlas.trajectories.import_workers as workers\n"
    "workers._pack = lambda items: os.kill(os.getpid(), 9)\n"
    "workers.serve()"
)


class BrokenFormat(RowFormat):
    """A format with an error of its own."""

    def convert(self, row: SourceRow) -> Trajectory:
        raise ZeroDivisionError(f"row {row.index}")


def chat(text: str, **fields: Any) -> str:
    messages = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": text}]
    return json.dumps({"messages": messages, **fields})


DIRTY = "\n".join(
    [
        "\ufeff" + chat("Thought:\none\n\nAction:\nlook", task_id="babyai_1", success=True),
        "",
        chat("two", success=False),
        "{broken",
        chat("two", success=False),
        '{"a": 1, "a": 2}',
        '{"messages": []}',
        chat("x" * 5000, reward=1e300),
        chat("Action:\na\nAction:\nb", big=10**30),
        chat(" ", half="\udc00"),
        json.dumps({"messages": [{"role": "assistant", "content": None}]}),
        "\ufeff" + chat("a mark in the middle"),
        json.dumps(json.loads(chat("parts"))["messages"]),
        *(chat(f"many {number}", score=number) for number in range(40)),
        chat("torn")[:-9],
    ]
)


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_workers, "LARGE_FILE_BYTES", 0)
    monkeypatch.setattr(import_workers, "CHUNK_BYTES", 300)


@pytest.fixture
def _workers_only(_small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are ready from the start, and so few bytes are all sent to them."""

    def enter(worker: import_workers._Worker) -> import_workers._Worker:
        worker.receive()
        return worker

    monkeypatch.setattr(import_workers._Worker, "__enter__", enter)


def run(path: Path, out: Path, processes: int, **settings: Any) -> dict[str, Any]:
    """What an import wrote and summed up."""
    config = ImportConfig(paths=(str(path),), processes=processes, **settings)
    manifest = import_trajectories(config, out)
    written: dict[str, Any] = {name: (out / name).read_bytes() for name in OUTPUTS}
    outputs = manifest.outputs
    inputs = [given.digest for given in manifest.inputs.values()]
    return written | {"summary": manifest.summary, "outputs": outputs, "inputs": inputs}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keep_duplicates": True},
        {"only": "success"},
        {"min_steps": 1, "where": ("task~babyai",)},
        {"format": "openai"},
    ],
)
@pytest.mark.usefixtures("_workers_only")
def test_any_number_of_processes_writes_the_same(tmp_path: Path, settings: dict[str, Any]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(DIRTY)
    one = run(path, tmp_path / "1", 1, **settings)
    assert one["summary"]["reasons"]
    assert run(path, tmp_path / "2", 2, **settings) == one
    assert run(path, tmp_path / "3", 3, **settings) == one


@pytest.mark.parametrize(
    "write",
    [
        lambda rows: json.dumps(rows),
        lambda rows: json.dumps(rows, indent=2),
        lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]",
        lambda rows: json.dumps(rows[0], indent=2),
        lambda rows: json.dumps(rows[0]["messages"]),
        lambda rows: "\n" * 50 + "\n\n".join(map(json.dumps, rows)),
        lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"format": "openai"}])
@pytest.mark.usefixtures("_small_chunks")
def test_a_large_file_of_any_shape_reads_like_a_small_one(
    tmp_path: Path,
    write: Callable[[list[Any]], str],
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # More than one chunk of the list reader, and rows beyond those that the format is told from.
    monkeypatch.setattr("atlas.trajectories.formats.json_array.CHUNK", 1 << 12)
    path = tmp_path / "x.json"
    path.write_text(write([json.loads(chat(f"{n} " + "x" * 900)) for n in range(60)]))

    def result(out: Path, processes: int) -> Any:
        try:
            return run(path, out, processes, **settings)
        except DataError as error:
            return str(error)

    small = result(tmp_path / "1", 1)
    assert result(tmp_path / "2", 2) == small


@pytest.mark.usefixtures("_small_chunks")
def test_the_parent_converts_while_workers_are_busy(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join([DIRTY, *(chat(f"more {number}") for number in range(3000))]))
    assert run(path, tmp_path / "2", 2) == run(path, tmp_path / "1", 1)


@pytest.mark.usefixtures("_workers_only")
def test_tokens_are_counted_the_same(tmp_path: Path, tiny_model_folder: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(DIRTY)
    one, two = (
        run(path, tmp_path / str(number), number, tokenizer=str(tiny_model_folder))
        for number in (1, 2)
    )
    assert one["summary"]["tokens"]
    assert one == two


@pytest.mark.usefixtures("_workers_only")
def test_a_run_is_imported_the_same(tmp_path: Path) -> None:
    trajectories = [make_trajectory(number) for number in range(1, 10)]
    write_trajectories(tmp_path / "run", trajectories)
    one, two = (run(tmp_path / "run", tmp_path / str(number), number) for number in (1, 2))
    assert one["summary"]["trajectories"] == 9
    assert one == two


@pytest.mark.usefixtures("_workers_only")
def test_strict_stops_at_the_same_row(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(DIRTY)
    messages = []
    for number in (1, 2):
        with pytest.raises(DataError) as error:
            run(path, tmp_path / "out", number, strict=True)
        messages.append(str(error.value))
        assert not (tmp_path / "out").exists()
    assert messages[0] == messages[1]
    assert "row 3 (line 4)" in messages[0]


@pytest.mark.usefixtures("_workers_only")
def test_a_file_is_opened_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(DIRTY)
    opened = opens_of(path)
    run(path, tmp_path / "out", 3)
    assert opened() == 1


@pytest.mark.usefixtures("_workers_only")
def test_an_error_of_a_format_is_raised_in_the_parent(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(DIRTY)
    with pytest.raises(ConfigError, match="ZeroDivisionError: row 0"):
        run(path, tmp_path / "out", 2, format=f"{__name__}:BrokenFormat")


@pytest.mark.usefixtures("_workers_only")
def test_a_killed_worker_ends_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_workers, "WORKER", KILLS_ITSELF)
    path = tmp_path / "x.jsonl"
    path.write_text(DIRTY)
    with pytest.raises(RunError, match=r"was killed.*Run the command again"):
        run(path, tmp_path / "out", 2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_an_interrupted_or_killed_parent(
    tmp_path: Path, signal_: signal.Signals
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(DIRTY)
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from atlas.trajectories import import_trajectories as stage, import_workers\n"
        "import_workers.LARGE_FILE_BYTES = 0\n"
        "def add(*_, **__):\n"
        "    print('converted', flush=True)\n"
        "    time.sleep(60)\n"
        "stage._Writer.add = add\n"
        "config = stage.ImportConfig(paths=(sys.argv[1],), processes=3)\n"
        "stage.import_trajectories(config, Path(sys.argv[2]))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "converted\n"
    parent.send_signal(signal_)
    # The end of the streams, which the workers hold too.
    _, complaints = wait_for(parent)
    assert complaints.count("Traceback") == (signal_ == signal.SIGINT)


@given(
    st.lists(st.sampled_from([b"1", b"", b"[2]", b"{", b'"xxxxxxxxxxxxx"', b"\xef\xbb\xbf3"])),
    st.integers(1, 30),
    st.booleans(),
)
def test_chunks_hold_the_rows_of_the_file(lines: list[bytes], size: int, ends: bool) -> None:
    data = b"\n".join(lines) + b"\n" * ends
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read_rows, "MAX_ROW_BYTES", 12)
        whole = list(rows_of_lines(io.BytesIO(data), "x"))
        chunks = list(line_chunks(io.BytesIO(data), size))
        parts = [
            row
            for first_index, chunk in chunks
            for row in rows_of_lines(io.BytesIO(chunk), "x", first_index)
        ]
    assert parts == whole
    assert all(len(chunk) <= size + 13 for _, chunk in chunks)


def test_blank_lines_of_a_large_file_cost_little(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n \n" * 8_000_000 + chat("a"))
    assert path.stat().st_size > import_workers.LARGE_FILE_BYTES
    started = time.process_time()
    made = run(path, tmp_path / "out", 1)
    assert time.process_time() - started < 4
    assert run(path, tmp_path / "two", 2)["trajectories.jsonl"] == made["trajectories.jsonl"]
