"""Finds equal trajectories, and makes ids unique.

Most formats put a hash of the row into the id, so equal ids mean equal content. Ids of trajectories
written by atlas name only task and player; for these, a digest of the content is given too. The
digests are in a temporary database of SQLite, so memory does not grow with the trajectories.
"""

from __future__ import annotations

import hashlib
import sqlite3


class Identities:
    """Remembers ids and contents. With `keep_duplicates`, no trajectories are treated as equal."""

    def __init__(self, keep_duplicates: bool) -> None:
        self._keep_duplicates = keep_duplicates
        # An empty name: a file without a name, which SQLite writes when its cache is full.
        self._base = sqlite3.connect("", isolation_level=None)
        self._base.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE places (key BLOB PRIMARY KEY, place TEXT) WITHOUT ROWID;"
            "CREATE TABLE ids (key BLOB PRIMARY KEY) WITHOUT ROWID; BEGIN"
        )

    def take(self, id_: str, content: bytes | None, place: str) -> tuple[str, str | None]:
        """A free id, and the place of an earlier equal trajectory, if there is one.

        Args:
            content: a digest, where the id does not hold one.
            place: where the trajectory is. Trajectories in the same place are never treated as
                equal, because one row may hold several.
        """
        key = _digest(id_ if content is None else f"{id_} {content.hex()}")
        if not self._insert("INSERT OR IGNORE INTO places VALUES (?, ?)", key, place):
            (earlier,) = self._base.execute(
                "SELECT place FROM places WHERE key = ?", (key,)
            ).fetchone()
            if earlier != place and not self._keep_duplicates:
                return id_, earlier
        free, number = id_, 1
        free_key = key if content is None else _digest(free)
        while not self._insert("INSERT OR IGNORE INTO ids VALUES (?)", free_key):
            number += 1
            free = f"{id_}-{number}"
            free_key = _digest(free)
        return free, None

    def close(self) -> None:
        """Remove the database."""
        self._base.close()

    def _insert(self, statement: str, *values: bytes | str) -> bool:
        """Whether the row was new."""
        return self._base.execute(statement, values).rowcount == 1


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
