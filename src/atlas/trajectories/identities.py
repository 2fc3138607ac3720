"""Finds equal trajectories, and makes ids unique.

Most formats put a hash of the row into the id, so equal ids mean equal content. Ids of trajectories
written by atlas name only task and player; for these, a digest of the content is given too. Memory
use is 16 bytes per trajectory, plus its place.
"""

from __future__ import annotations

import hashlib


class Identities:
    """Remembers ids and contents. With `keep_duplicates`, no trajectories are treated as equal."""

    def __init__(self, keep_duplicates: bool) -> None:
        self._keep_duplicates = keep_duplicates
        self._places: dict[bytes, str] = {}
        self._ids: set[bytes] = set()

    def take(self, id_: str, content: bytes | None, place: str) -> tuple[str, str | None]:
        """A free id, and the place of an earlier equal trajectory, if there is one.

        Args:
            content: a digest, where the id does not hold one.
            place: where the trajectory is. Trajectories in the same place are never treated as
                equal, because one row may hold several.
        """
        key = _digest(id_ if content is None else f"{id_} {content.hex()}")
        earlier = self._places.setdefault(key, place)
        if earlier != place and not self._keep_duplicates:
            return id_, earlier
        free, number = id_, 1
        free_key = key if content is None else _digest(free)
        while free_key in self._ids:
            number += 1
            free = f"{id_}-{number}"
            free_key = _digest(free)
        self._ids.add(free_key)
        return free, None


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
