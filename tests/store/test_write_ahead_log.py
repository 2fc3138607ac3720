"""SQLite files that processes share: opening a new one at the same time is no error."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from atlas.models.base import Completion, Sampling
from atlas.models.endpoints.answer_cache import CachedClient
from atlas.records import Message
from atlas.store.write_ahead_log import use_write_ahead_log
from atlas.viewing.web.database import Database
from atlas.viewing.web.labels.database import LabelDatabase

SOURCES = Path(__file__).resolve().parents[2] / "src" / "atlas"
OWNER = SOURCES / "store" / "write_ahead_log.py"


class BusyConnection(sqlite3.Connection):
    """Another process is in the same step, as often as `num_busy` says."""

    num_busy = 3
    reason = "database is locked"

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if self.num_busy:
            self.num_busy -= 1
            raise sqlite3.OperationalError(self.reason)
        return super().execute(sql, *rest)


def mode_of(connection: sqlite3.Connection) -> str:
    [mode] = connection.execute("pragma journal_mode").fetchone()
    return str(mode)


def test_it_is_tried_again_while_another_process_is_in_the_same_step(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.sqlite", factory=BusyConnection)
    use_write_ahead_log(connection, 30.0)
    assert mode_of(connection) == "wal"
    connection.close()


@pytest.mark.parametrize(
    ("reason", "wait_seconds"), [("database is locked", -1.0), ("disk I/O error", 30.0)]
)
def test_it_gives_up_in_the_end_and_at_once_for_another_reason(
    tmp_path: Path, reason: str, wait_seconds: float
) -> None:
    connection = sqlite3.connect(tmp_path / "a.sqlite", factory=BusyConnection)
    assert isinstance(connection, BusyConnection)
    connection.reason = reason
    with pytest.raises(sqlite3.OperationalError, match=reason):
        use_write_ahead_log(connection, wait_seconds)
    assert connection.num_busy == 2
    connection.close()


def open_answers(file: Path) -> None:
    asyncio.run(CachedClient(Silent(), ["m"], file).close())


def open_labels(file: Path) -> None:
    LabelDatabase(file).close()


def open_index(file: Path) -> None:
    Database(file).close()


class Silent:
    """A client that is asked nothing."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        raise AssertionError

    async def close(self) -> None: ...


@pytest.mark.parametrize("opened", [open_answers, open_labels, open_index])
def test_a_new_file_may_be_opened_many_times_at_once(
    tmp_path: Path, opened: Callable[[Path], None]
) -> None:
    num_threads = 4
    together = Barrier(num_threads)

    def open_together(file: Path) -> None:
        together.wait()
        opened(file)

    with ThreadPoolExecutor(num_threads) as threads:
        for number in range(25):
            list(threads.map(open_together, [tmp_path / f"{number}.sqlite"] * num_threads))


def test_no_other_file_switches_to_a_write_ahead_log() -> None:
    switches = re.compile(r"journal_mode\s*=\s*wal", re.IGNORECASE)
    assert [path for path in SOURCES.rglob("*.py") if switches.search(path.read_text())] == [OWNER]
