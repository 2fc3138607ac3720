from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.records import Problem
from atlas.trajectories.formats.rows import SourceRow
from tests.source_files import read_rows


def zstd(data: bytes) -> bytes:
    return bytes(
        pytest.importorskip("zstandard", reason="the import extra is not installed").compress(data)
    )


PACKERS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress, zstd]
ROWS = [{"id": number, "text": f"text {number * 7919}" * 20} for number in range(400)]
LINES = b"\n".join(json.dumps(row).encode() for row in ROWS)


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("name", ["x", "x.jsonl.gz", "x.json.zst", "x.txt"])
def test_packed_files_are_told_by_their_bytes_and_read_like_others(
    tmp_path: Path, pack: Callable[[bytes], bytes], name: str
) -> None:
    path = tmp_path / name
    for content in (LINES, json.dumps(ROWS).encode()):
        path.write_bytes(pack(content))
        assert [row.value for row in read_rows(path) if isinstance(row, SourceRow)] == ROWS


@pytest.mark.parametrize("pack", PACKERS)
def test_what_came_before_a_tear_is_read_and_the_tear_is_a_problem(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    packed = (
        b"".join(pack(LINES[start : start + 8192]) for start in range(0, len(LINES), 8192))
        if pack in PACKERS[:3]
        else pack(LINES)
    )
    path = tmp_path / "x.jsonl.gz"
    for cut in (9, len(packed) // 2, len(packed) - 3):
        path.write_bytes(packed[:cut])
        *rows, problem = read_rows(path)
        values = [row.value for row in rows if isinstance(row, SourceRow)]
        assert values == ROWS[: len(values)]
        assert isinstance(problem, Problem)
        assert pack is zstd or cut == 9 or len(values) > 100


def read_apart(path: Path) -> tuple[str, float, int]:
    """What a process of its own reads: the last problem, its seconds, and how much memory (KiB)."""
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from atlas.records import Problem\n"
        "from atlas.trajectories.formats.source_file import SourceFile\n"
        "from atlas.kinds import Choice\n"
        "from atlas.trajectories.formats.base import FORMAT\n"
        "is_log = sys.argv[1].endswith('.eval')\n"
        "if is_log: import inspect_ai.log\n"
        "if sys.argv[1].endswith('.parquet'): import pyarrow.parquet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF)\n"
        "source = SourceFile(Path(sys.argv[1]))\n"
        "items = FORMAT.make(Choice('inspect')).read(source) if is_log else source.rows()\n"
        "problem = None\n"
        "for item in items:\n"
        "    problem = item if isinstance(item, Problem) else problem\n"
        "after = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(after.ru_utime - before.ru_utime, after.ru_maxrss - before.ru_maxrss)\n"
        "print(problem and problem.reason)"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures, reason = done.stdout.split("\n", 1)
    seconds, memory = figures.split()
    return reason, float(seconds), int(memory)


# Their first rows are good. A small part, packed once and repeated, is what a bomb is made of.
ROW = json.dumps(ROWS[0]).encode() + b"\n"
FILLERS = {"newlines": b"\n", "spaces": b" ", "small values": b"[],", "depth": b"[", "text": b"x"}


@pytest.mark.parametrize("filler", FILLERS.values(), ids=list(FILLERS))
@pytest.mark.parametrize("pack", [*PACKERS[:2], zstd])
def test_a_bomb_is_refused_within_bounds_of_time_and_memory(
    tmp_path: Path, pack: Callable[[bytes], bytes], filler: bytes
) -> None:
    path = tmp_path / "bomb"
    part = pack(filler * ((4 << 20) // len(filler)))
    # 8 GiB.
    path.write_bytes(pack(ROW) + part * 2000)
    reason, seconds, memory = read_apart(path)
    assert "decompression bomb" in reason
    assert seconds < 20
    assert memory < 400_000


@pytest.mark.parametrize(
    ("before", "filler"),
    [
        (b"", b'{"a":'),
        (b"[\n", b"["),
        *(
            pytest.param(*both, marks=pytest.mark.slow)
            for both in ((b"", b"["), (b"", b"[],"), (b"[\n", b"[],"), (b"[\n", b'{"a":'))
        ),
    ],
)
def test_a_row_of_very_many_values_is_refused_and_the_next_is_read(
    tmp_path: Path, before: bytes, filler: bytes
) -> None:
    path = tmp_path / "x"
    many = b'{"messages":[' + filler * ((18 << 20) // len(filler)) + b"0]}"
    rows = [ROW.strip(), many, ROW.strip()]
    path.write_bytes(b"[\n" + b",\n".join(rows) + b"]" if before else b"\n".join(rows))
    reason, seconds, memory = read_apart(path)
    assert "more than 5,000,000 values" in reason or "nested too deeply" in reason
    assert seconds < 10
    assert memory < 400_000
    assert [row.index for row in read_rows(path) if isinstance(row, SourceRow)] == [0, 2]


def test_the_values_of_other_rows_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "x"
    # The window that holds the long text holds the many rows after it too.
    small = [[0] * 60] * 100_000
    path.write_text(json.dumps([{"text": "x" * (16 << 20)}, *small]))
    rows = list(read_rows(path))
    assert len(rows) == 100_001
    assert all(isinstance(row, SourceRow) for row in rows)


def test_commas_within_texts_are_no_values(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": '[{,"\\' * 2_000_000}]}))
    assert isinstance(next(iter(read_rows(path))), SourceRow)


@pytest.mark.parametrize("is_honest", [True, False])
def test_an_archive_that_expands_too_far_is_refused(tmp_path: Path, is_honest: bool) -> None:
    pytest.importorskip("inspect_ai", reason="the inspect extra is not installed")
    path = tmp_path / "bomb.eval"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("header.json", "w") as file,
    ):
        for _ in range(100):
            file.write(b" " * (1 << 20))
    if not is_honest:
        data = bytearray(path.read_bytes())
        # The size in the header of the member and in the directory.
        for place in (22, data.rindex(b"PK\x01\x02") + 24):
            data[place : place + 4] = (100).to_bytes(4, "little")
        path.write_bytes(data)
    reason, seconds, memory = read_apart(path)
    assert "decompression bomb" in reason
    assert seconds < 10
    assert memory < 300_000


def test_parquet_that_expands_too_far_is_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the import extra is not installed")
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.table({"messages": pyarrow.nulls(50_000_000, pyarrow.string())}),
        tmp_path / "nulls",
        row_group_size=50_000_000,
    )
    reason, seconds, memory = read_apart(tmp_path / "nulls")
    assert "decompression bomb" in reason
    text = pyarrow.array(["x" * (8 << 20)])
    repeated = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 100, pyarrow.int32()), text)
    parquet.write_table(pyarrow.table({"messages": repeated}), tmp_path / "repeated")
    reason, seconds, memory = read_apart(tmp_path / "repeated")
    assert seconds < 20
    # One value stands for 100 rows of 8 MiB, of which few are in memory at once.
    assert memory < 1_000_000


def test_parquet_rows_read_as_their_json_does(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the import extra is not installed")
    from pyarrow import parquet

    rows = [
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "tool_calls": [{"id": "c"}]},
            ],
            "id": 1,
        },
        {"messages": [{"role": "user", "content": "é"}], "id": 2, "reward": 0.5},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=None), tmp_path / "x.parquet")
    read = [row for row in read_rows(tmp_path / "x.parquet") if isinstance(row, SourceRow)]
    parquet.write_table(
        pyarrow.table({"messages": [json.dumps(row["messages"]) for row in rows]}),
        tmp_path / "texts",
    )
    assert [row.value["messages"] for row in read] == [row["messages"] for row in rows]
    assert [
        row.value["messages"] for row in read_rows(tmp_path / "texts") if isinstance(row, SourceRow)
    ] == [row["messages"] for row in rows]
    (tmp_path / "torn").write_bytes((tmp_path / "x.parquet").read_bytes()[:-20])
    [problem] = read_rows(tmp_path / "torn")
    assert isinstance(problem, Problem)
    assert "the parquet data is damaged" in problem.reason


@pytest.mark.parametrize("place", ["column", "list"])
def test_a_parquet_text_that_stands_once_and_is_repeated_is_bounded(
    place: str, tmp_path: Path
) -> None:
    import pyarrow
    from pyarrow import parquet

    num_texts = 400
    texts = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * num_texts, pyarrow.int32()), pyarrow.array(["x" * (50 << 20)])
    )
    if place == "list":
        ends = pyarrow.array([0, num_texts], pyarrow.int32())
        texts = pyarrow.ListArray.from_arrays(
            ends, pyarrow.StructArray.from_arrays([texts], ["content"])
        )
    parquet.write_table(
        pyarrow.table({"messages": texts}),
        tmp_path / "x.parquet",
        compression="zstd",
        dictionary_pagesize_limit=1 << 30,
    )
    assert (tmp_path / "x.parquet").stat().st_size < 5_000
    started = time.process_time()
    *_, problem = read_rows(tmp_path / "x.parquet")
    assert time.process_time() - started < 10
    assert isinstance(problem, Problem)
    assert "decompression bomb" in problem.reason or "more than 512 MiB" in problem.reason


@pytest.mark.parametrize("num_rows", [1, 3, 200])
def test_parquet_texts_that_repeat_read_as_they_are(num_rows: int, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": None}]}
        for _ in range(num_rows)
    ] + [{"messages": [{"role": "user", "content": f"{n}"} for n in range(9)], "system": "s"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    read = [row.value for row in read_rows(tmp_path / "x.parquet") if isinstance(row, SourceRow)]
    assert [len(row["messages"]) for row in read] == [2] * num_rows + [9]
    assert read[0] == {"messages": [{"role": "user", "content": "go"}, {"role": "assistant"}]}
