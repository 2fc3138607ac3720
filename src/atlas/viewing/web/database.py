"""The file of an index: its tables, and a connection for each thread that lives."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import finalize

from atlas.errors import RunError
from atlas.store.write_ahead_log import use_write_ahead_log

# Part of the name of the file: another schema, or other searched texts, are another file.
SCHEMA = 2
BUSY_SECONDS = 30.0
# What a connection keeps of the file in memory; there may be one for each of 40 threads.
CACHE_KIBIBYTES = 8 << 10
TABLES = """
create table if not exists files (
  source text primary key, name text not null, stamp text not null, size integer not null,
  offset integer not null, lines integer not null, is_whole integer not null
) without rowid;
create table if not exists trajectories (
  number integer primary key autoincrement,
  source text not null, line integer not null, offset integer not null, length integer not null,
  id text not null, task text not null, environment text not null, grp text not null,
  outcome text not null, score real, steps integer not null, goal text not null,
  fault text, selection_fault text,
  selected integer not null default 0, counts text not null default '{}',
  kinds integer not null default 0,
  disagrees integer not null default 0, flipped integer not null default 0
);
create index if not exists by_id on trajectories (source, id);
create index if not exists by_task on trajectories (task, environment);
create index if not exists by_outcome on trajectories (outcome);
create index if not exists by_score on trajectories (ifnull(score, -1e308));
create index if not exists by_steps on trajectories (steps);
create virtual table if not exists words using fts5 (body, content='');
create table if not exists selections (
  source text not null, id text not null, offset integer not null, length integer not null,
  num integer not null, kinds integer not null, steps text not null, fault text
);
create index if not exists by_selected on selections (source, id);
create table if not exists scores (
  source text not null, id text not null, offset integer not null, length integer not null
);
create index if not exists by_scored on scores (source, id);
create table if not exists marks (marked_for text not null);
"""


class Database:
    """A SQLite file. Readers have a connection each; one thread writes at a time.

    A web server ends idle threads and starts new ones, so a new thread takes over the connection of
    one that has ended: there are never more connections than threads that lived at once.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._owned: dict[threading.Thread, sqlite3.Connection] = {}
        self._owning = threading.Lock()
        # A connection that nobody closed is a warning of Python 3.13.
        finalize(self, _close, self._owned)
        self.writing = threading.RLock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self.remove()
                self._open()
        except (sqlite3.Error, OSError) as error:
            raise RunError(
                f"the index of the viewer {file} cannot be used: {error}. Remove the file; it is "
                "made again."
            ) from None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread."""
        thread = threading.current_thread()
        with self._owning:
            connection = self._owned.get(thread)
            if connection is None:
                ended = next((one for one in self._owned if not one.is_alive()), None)
                connection = self._connect() if ended is None else self._owned.pop(ended)
                self._owned[thread] = connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        # One thread uses it at a time; another one may take it over, or close it.
        connection = sqlite3.connect(
            self.file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            use_write_ahead_log(connection, BUSY_SECONDS)
            # An index that is lost is made again.
            connection.execute("pragma synchronous = off")
            connection.execute(f"pragma cache_size = -{CACHE_KIBIBYTES}")
        except BaseException:
            connection.close()
            raise
        return connection

    def remove(self) -> None:
        """Remove the file, so that the index is made again."""
        self.close()
        for ending in ("", "-wal", "-shm"):
            Path(f"{self.file}{ending}").unlink(missing_ok=True)

    def _open(self) -> None:
        # The log stays behind if a process or the machine ended without closing the file.
        was_killed = Path(f"{self.file}-wal").exists()
        if was_killed:
            [found] = self.connection.execute("pragma quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
        self.connection.executescript(TABLES)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept together, or dropped after an error."""
        connection = self.connection
        connection.execute("begin immediate")
        try:
            yield connection
            connection.execute("commit")
        except BaseException:
            # SQLite itself ends a transaction in a damaged file.
            if connection.in_transaction:
                connection.execute("rollback")
            raise

    def close(self) -> None:
        """Close the connections of all threads."""
        _close(self._owned)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is damaged, or not one of SQLite; a subclass stands for other reasons."""
    return type(error) is sqlite3.DatabaseError


def _close(owned: dict[threading.Thread, sqlite3.Connection]) -> None:
    while owned:
        owned.popitem()[1].close()
