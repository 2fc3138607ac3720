"""A write-ahead log for an SQLite file that several processes may open at the same time."""

from __future__ import annotations

import sqlite3
import time

PAUSE_SECONDS = 0.02


def use_write_ahead_log(connection: sqlite3.Connection, wait_seconds: float) -> None:
    """Switch the file of a connection to a write-ahead log.

    Two processes that open a new file both need its lock for this, and SQLite gives up at once,
    whatever the timeout of the connection. So it is tried again.

    Args:
        wait_seconds: how long another process may hold the file.

    Raises:
        sqlite3.Error: it was held for longer, or is damaged, or cannot be written.
    """
    give_up = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute("pragma journal_mode = wal").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(PAUSE_SECONDS)
