"""The index of all records that the viewer shows: `sources -> a SQLite file`, made once.

Each file of records is read once, in batches: after kill -9 the next start continues after the last
batch. A file that has changed is read again; one that grows is read from where it ended.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from filelock import FileLock, Timeout

from atlas.viewing.web.database import SCHEMA, Database
from atlas.viewing.web.index_lines import (
    TrajectoryEntry,
    describe_selection_line,
    describe_trajectory_line,
    read_scores_line,
)
from atlas.viewing.web.marks import mark_rows
from atlas.viewing.web.sources import ShownRun
from atlas.viewing.web.unused_files import mark_used, remove_unused

if TYPE_CHECKING:
    from sqlite3 import Connection, Row

    from atlas.terminal.progress import Bar

# A batch is held in memory; it ends at the first of these, and has at least one line.
LINES_PER_BATCH = 1_000
BYTES_PER_BATCH = 64 << 20
# Smaller files are indexed before a bar would be seen.
BYTES_FOR_A_BAR = 8 << 20
SCORES_FILE = "scores.jsonl"

# A line: its offset and its bytes.
Line = tuple[int, bytes]
AddLines = Callable[["Connection", str, int, Sequence[Line]], None]


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file of records, and how its lines are added. `source` names it in the index."""

    source: str
    path: Path
    table: str
    add: AddLines
    is_growing: bool


class Index:
    """The index of some sources, in a file that the next start uses again."""

    def __init__(self, sources: Sequence[ShownRun], folder: Path) -> None:
        named = [(one.key, one.kind, str(one.path.resolve())) for one in sources]
        digest = hashlib.sha256(json.dumps([SCHEMA, *named]).encode("utf-8", "replace"))
        self.database = Database(folder / f"{digest.hexdigest()[:24]}.sqlite")
        self._lock = FileLock(f"{self.database.file}.lock")
        mark_used(self.database.file)
        remove_unused(folder, "*.sqlite")

    def update(self, sources: Sequence[ShownRun], *, shows_progress: bool = False) -> None:
        """Read what is new or was changed.

        A second process that shows the same runs waits while the index is made.
        """
        with self.database.writing, self._lock:
            files = [file for source in sources for file in _files_of(source)]
            for file in files:
                self._update_file(file, shows_progress)
            self._forget_others({file.source for file in files})
            mark_rows(self.database, sources)

    def try_update(self, sources: Sequence[ShownRun]) -> None:
        """As `update`, for runs in progress; does nothing while another process updates."""
        with suppress(Timeout), self._lock.acquire(blocking=False):
            self.update(sources)

    def version(self) -> tuple[tuple[object, ...], ...]:
        """What the index was made from so far: it differs after a change by any process."""
        sql = (
            "select source, name, stamp, lines from files "
            "union all select '', '', marked_for, 0 from marks order by source"
        )
        return tuple(tuple(row) for row in self.database.connection.execute(sql))

    def _update_file(self, file: IndexedFile, shows_progress: bool) -> None:
        connection = self.database.connection
        known = connection.execute(
            "select * from files where source = ?", (file.source,)
        ).fetchone()
        try:
            opened = file.path.open("rb")
        except OSError:
            # It was renamed since its folder was looked at; the next update finds it.
            return
        with opened:
            status = os.fstat(opened.fileno())
            stamp = f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"
            if known and known["stamp"] == stamp and known["is_whole"]:
                return
            offset, lines = (known["offset"], known["lines"]) if known else (0, 0)
            if known and not _continues(known, file, stamp, status.st_size):
                with self.database.transaction() as inside:
                    _forget(inside, file.source)
                offset = lines = 0
            opened.seek(offset)
            bar = _bar(file, status.st_size, shows_progress)
            with bar as shown:
                self._read(file, opened, stamp, lines, shown)

    def _read(
        self, file: IndexedFile, opened: BinaryIO, stamp: str, lines: int, bar: Bar | None
    ) -> None:
        size = int(stamp.split()[1])
        while True:
            batch, is_whole = _read_batch(opened, size, file.is_growing)
            end = opened.tell()
            with self.database.transaction() as inside:
                file.add(inside, file.source, lines, batch)
                lines += len(batch)
                inside.execute(
                    "insert or replace into files values (?, ?, ?, ?, ?, ?, ?)",
                    (file.source, file.path.name, stamp, size, end, lines, is_whole),
                )
            if bar is not None:
                bar.update(end >> 20, f"{lines:,} lines")
            if is_whole:
                return

    def _forget_others(self, kept: set[str]) -> None:
        """Remove what the index holds of files that are gone."""
        known = {row["source"] for row in self.database.connection.execute("select * from files")}
        for source in known - kept:
            with self.database.transaction() as inside:
                _forget(inside, source)


def _files_of(source: ShownRun) -> Iterator[IndexedFile]:
    path = source.current_file()
    if path is None:
        return
    is_growing = path.name.endswith(".partial")
    if source.kind == "trajectories":
        yield IndexedFile(source.key, path, "trajectories", _add_trajectories, is_growing)
    elif source.kind == "selection":
        yield IndexedFile(source.key, path, "selections", _add_selections, is_growing)
        scores = source.path / SCORES_FILE
        if scores.exists():
            # No key holds a slash.
            yield IndexedFile(f"{source.key}/scores", scores, "scores", _add_scores, False)


def _continues(earlier: Row, file: IndexedFile, stamp: str, size: int) -> bool:
    """Whether what is indexed is still the beginning of the file."""
    is_same_file = earlier["stamp"].split()[0] == stamp.split()[0]
    is_same_file = is_same_file and earlier["name"] == file.path.name
    if file.is_growing:
        return bool(is_same_file and size >= earlier["size"])
    return bool(is_same_file and earlier["stamp"] == stamp)


def _read_batch(opened: BinaryIO, size: int, is_growing: bool) -> tuple[list[Line], bool]:
    """The next lines up to `size`, and whether they are the last ones.

    A growing file ends before a line that is not whole.
    """
    batch: list[Line] = []
    start = offset = opened.tell()
    while offset < size:
        if len(batch) == LINES_PER_BATCH or offset - start >= BYTES_PER_BATCH:
            return batch, False
        line = opened.readline()
        if not line or (is_growing and not line.endswith(b"\n")):
            opened.seek(offset)
            break
        batch.append((offset, line))
        offset += len(line)
    return batch, True


def _add_trajectories(inside: Connection, source: str, lines: int, batch: Sequence[Line]) -> None:
    # Numbers are never used twice, so words of rows that were removed belong to nothing.
    last = inside.execute("select seq from sqlite_sequence where name = 'trajectories'").fetchone()
    first = (last[0] if last else 0) + 1
    entries = [describe_trajectory_line(line) for _, line in batch]
    inside.executemany(
        "insert into trajectories (number, source, line, offset, length, id, task, environment, "
        "grp, outcome, score, steps, goal, fault) values (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        [
            (first + place, source, lines + place + 1, offset, len(line), *_columns(entry))
            for place, ((offset, line), entry) in enumerate(zip(batch, entries, strict=True))
        ],
    )
    inside.executemany(
        "insert into words (rowid, body) values (?, ?)",
        [(first + place, entry.words) for place, entry in enumerate(entries)],
    )


def _columns(entry: TrajectoryEntry) -> tuple[str | float | None, ...]:
    named = (entry.id, entry.task, entry.environment, entry.group)
    return (*named, entry.outcome, entry.score, entry.num_steps, entry.goal, entry.fault)


def _add_selections(inside: Connection, source: str, lines: int, batch: Sequence[Line]) -> None:
    found = ((offset, line, describe_selection_line(line)) for offset, line in batch)
    inside.executemany(
        "insert into selections values (?,?,?,?,?,?,?,?)",
        [
            (source, one.id, offset, len(line), one.num_critical, one.kinds, one.steps, one.fault)
            for offset, line, one in found
            if one is not None
        ],
    )


def _add_scores(inside: Connection, source: str, lines: int, batch: Sequence[Line]) -> None:
    found = ((offset, line, read_scores_line(line)) for offset, line in batch)
    inside.executemany(
        "insert into scores values (?,?,?,?)",
        [
            (source, one.trajectory_id, offset, len(line))
            for offset, line, one in found
            if one is not None
        ],
    )


def _forget(inside: Connection, source: str) -> None:
    for table in ("trajectories", "selections", "scores", "files"):
        name = source.removesuffix("/scores") if table == "scores" else source
        if table != "scores" or source.endswith("/scores"):
            inside.execute(f"delete from {table} where source = ?", (name,))


def _bar(file: IndexedFile, size: int, shows_progress: bool) -> AbstractContextManager[Bar | None]:
    if not shows_progress or size < BYTES_FOR_A_BAR:
        return nullcontext()
    from atlas.terminal.progress import show_progress

    return show_progress(f"indexing {file.source} (MB)", size >> 20)
