"""Import opens each file once: it is recognized, streamed and hashed through one handle."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
from pathlib import Path

import pytest

from atlas.errors import DataError
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from tests.opened_files import opens_of

ROWS = [
    {"messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": text}]}
    for text in ("one", "two", "three")
]
LINES = "\n".join(map(json.dumps, ROWS)).encode()
FILES = {
    "lines": LINES,
    "a list": json.dumps(ROWS).encode(),
    "a list over lines": json.dumps(ROWS, indent=1).encode(),
    "one object": json.dumps(ROWS[0], indent=1).encode(),
    "lines after a damaged one": b"{broken\n" + LINES,
    "lines that begin like an object": b'{"a":\n' + LINES,
    "one chat": json.dumps(ROWS[0]["messages"]).encode(),
    "gzip": gzip.compress(LINES),
    "bzip2": bz2.compress(LINES),
    "xz": lzma.compress(LINES),
    "torn gzip": gzip.compress(LINES * 5000)[:-20],
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_opened_once_and_its_digest_is_that_of_all_its_bytes(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(FILES[name])
    opened = opens_of(path)
    manifest = import_trajectories(ImportConfig(paths=(str(path),)), tmp_path / "out")
    assert opened() == 1
    assert manifest.inputs["file 0"].digest == hashlib.sha256(FILES[name]).hexdigest()


def test_zstd_and_parquet_files_are_opened_once(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="the import extra is not installed")
    pyarrow = pytest.importorskip("pyarrow", reason="the import extra is not installed")
    from pyarrow import parquet

    packed, table = tmp_path / "x.zst", tmp_path / "x.parquet"
    packed.write_bytes(zstandard.compress(LINES))
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), table)
    opened = [opens_of(path) for path in (packed, table)]
    config = ImportConfig(paths=(str(packed), str(table)), keep_duplicates=True)
    manifest = import_trajectories(config, tmp_path / "out")
    assert manifest.summary["trajectories"] == 6
    assert [count() for count in opened] == [1, 1]
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    assert manifest.inputs["file 1"].digest == digest


def test_the_files_of_a_folder_are_opened_once_each_with_or_without_trajectories(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    paths = [folder / "a.jsonl", folder / "b.txt", folder / "c.json"]
    for path, content in zip(paths, (LINES, b"not JSON", b'[{"text": "hi"}]'), strict=True):
        path.write_bytes(content)
    opened = [opens_of(path) for path in paths]
    import_trajectories(ImportConfig(paths=(str(folder),)), tmp_path / "out")
    assert [count() for count in opened] == [1, 1, 1]


def test_a_finished_import_reads_each_file_once_to_compare_it(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(LINES)
    config = ImportConfig(paths=(str(path),))
    first = import_trajectories(config, tmp_path / "out")
    opened = opens_of(path)
    assert import_trajectories(config, tmp_path / "out") == first
    assert opened() == 1


def test_a_file_without_trajectories_is_opened_once_too(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "hi"}\n' * 3)
    opened = opens_of(path)
    with pytest.raises(DataError, match="no row is a trajectory"):
        import_trajectories(ImportConfig(paths=(str(path),)), tmp_path / "out")
    assert opened() == 1
    assert not (tmp_path / "out").exists()
