"""The SQLite file of labels: opened with checks, written in durable transactions.

    labels.sqlite        the file; `-wal` and `-shm` beside it belong to it while it is open

Several processes may write it at once: each transaction takes the lock of the file and waits for
others. A transaction is on the disk when it ends (WAL with `synchronous=FULL`), so a killed process
loses nothing that it has confirmed. Triggers refuse to change or remove a row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from atlas.config import StrPath
from atlas.errors import AtlasError, ConfigError, DataError, RunError
from atlas.store.paths import check_path
from atlas.store.write_ahead_log import use_write_ahead_log

# "ATLS": which program wrote the file.
APPLICATION_ID = 0x41544C53
SCHEMA_VERSION = 1
# How long a transaction waits for those of other processes.
WAIT_SECONDS = 30.0
TABLES = ("trajectories", "edits", "answers")
SCHEMA = """
CREATE TABLE trajectories (
    digest TEXT PRIMARY KEY, id TEXT NOT NULL, num_steps INTEGER NOT NULL, task TEXT NOT NULL
);
CREATE TABLE edits (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, annotator TEXT NOT NULL,
    trajectory_id TEXT NOT NULL, digest TEXT NOT NULL REFERENCES trajectories (digest),
    action TEXT NOT NULL CHECK (action IN ('label', 'finish', 'reopen', 'undo')),
    step INTEGER CHECK (step >= 0), type TEXT, reason TEXT, evidence TEXT,
    confidence REAL CHECK (confidence BETWEEN 0 AND 1), undoes INTEGER UNIQUE REFERENCES edits (id)
);
CREATE INDEX edits_of_trajectory ON edits (digest, annotator);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, annotator TEXT NOT NULL,
    calibration TEXT NOT NULL, trajectory_id TEXT NOT NULL, step INTEGER NOT NULL,
    type TEXT NOT NULL, reason TEXT
);
CREATE INDEX answers_of_calibration ON answers (calibration, annotator);
"""


class LabelDatabase:
    """An open file of labels. Safe to use from several threads.

    Raises:
        ConfigError: the file cannot be created at this path.
        DataError: it is not a file of labels, is damaged, or is of a newer version.
        RunError: another process held its lock for too long, or the disk refused a write.
    """

    def __init__(self, path: StrPath) -> None:
        check_path(path, "labels", longest_ending="-wal")
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise ConfigError(
                f"labels {self.path}: {self.path.parent} is not a folder. Create it first, or give "
                "labels=FILE in another folder."
            )
        if self.path.exists() and not self.path.is_file():
            raise ConfigError(f"labels {self.path}: not a file. Give labels=FILE.")
        self._lock = RLock()
        with self._faults():
            self._connection = sqlite3.connect(
                self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
        self._connection.row_factory = sqlite3.Row
        try:
            with self._faults():
                self._open()
            self._inode = self.path.stat().st_ino
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that no other writer can enter; on the disk at the end of the block."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the file, whatever others write meanwhile."""
        with self._transaction("BEGIN") as connection:
            yield connection

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, self._faults():
            self._is_in_place()
            self._connection.execute(begin)
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _open(self) -> None:
        """Check what the file holds before anything is written to it."""
        execute = self._connection.execute
        # One state of the file: another process may be creating the tables.
        execute("BEGIN")
        [application] = execute("PRAGMA application_id").fetchone()
        [version] = execute("PRAGMA user_version").fetchone()
        [tables] = execute("SELECT count(*) FROM sqlite_master").fetchone()
        execute("COMMIT")
        advice = "Give another file as labels=FILE."
        if application != APPLICATION_ID and (application or tables):
            raise DataError(f"labels {self.path}: a database of another program. {advice}")
        if version > SCHEMA_VERSION:
            raise DataError(
                f"labels {self.path}: written by a newer version of atlas (schema {version}, "
                f"expected at most {SCHEMA_VERSION}). Update atlas."
            )
        [sound] = execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise self._damaged(str(sound))
        use_write_ahead_log(self._connection, WAIT_SECONDS)
        execute("PRAGMA synchronous=FULL")
        execute("PRAGMA foreign_keys=ON")
        execute("BEGIN IMMEDIATE")
        # Another process may have created the tables meanwhile.
        if not execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in SCHEMA.split(";"):
                execute(statement)
            for table in TABLES:
                for change in ("UPDATE", "DELETE"):
                    execute(
                        f"CREATE TRIGGER {table}_no_{change} BEFORE {change} ON {table} "
                        "BEGIN SELECT RAISE(ABORT, 'labels are only added'); END"
                    )
            execute(f"PRAGMA application_id={APPLICATION_ID}")
            execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        execute("COMMIT")

    def _is_in_place(self) -> None:
        """An open file that was removed or replaced still accepts writes, which are then lost."""
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = None
        if inode != self._inode:
            raise RunError(
                f"labels {self.path}: the file was removed or replaced while it was open. Put it "
                "back, and start the command again."
            )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """What SQLite reports, as errors that say what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._refused(str(error)) from None
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from None

    def _refused(self, reason: str) -> AtlasError:
        if "locked" in reason or "busy" in reason:
            return RunError(
                f"labels {self.path}: another process did not release the file within "
                f"{WAIT_SECONDS:.0f} seconds. Nothing was written; try again."
            )
        if "unable to open" in reason or "readonly" in reason:
            return ConfigError(
                f"labels {self.path}: the file cannot be written ({reason}). Check the permissions "
                "of the file and its folder, or give labels=FILE elsewhere."
            )
        if "malformed" in reason:
            return self._damaged(reason)
        return RunError(
            f"labels {self.path}: nothing was written ({reason}). Check the disk, then try again."
        )

    def _damaged(self, reason: str) -> DataError:
        return DataError(
            f"labels {self.path}: not a file of labels, or damaged ({reason}). Give another file "
            "as labels=FILE, or restore this one from a copy."
        )
