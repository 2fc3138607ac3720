from __future__ import annotations

import bz2
import gzip
import json
import lzma
import resource
import subprocess
import sys
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


@pytest.mark.parametrize("pack", PACKERS[:2])
def test_a_bomb_costs_no_memory(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "bomb"
    part = pack(b" " * (32 << 20))
    # 1.3 GB of white space.
    path.write_bytes(part * 40)
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from atlas.trajectories.formats import read_rows\n"
        "from atlas.trajectories.formats.source_file import SourceFile\n"
        "read_rows.MAX_ROW_BYTES = 1 << 24\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "[problem] = SourceFile(Path(sys.argv[1])).rows()\n"
        "print(problem.reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert "longer than" in done.stdout
    assert int(done.stdout.split()[-1]) < 200_000
    assert resource.RUSAGE_SELF == 0


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
