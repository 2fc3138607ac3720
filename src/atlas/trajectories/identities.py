"""Which trajectories are equal, and ids that no two share.

Formats put a hash of the row into the id, so one id is one content. Only the ids of trajectories
written by atlas say nothing about the content (they name task and player); for these the content is
given too. Memory holds 16 bytes and the place of each trajectory.
"""

from __future__ import annotations

import hashlib


class Identities:
    """Remembers ids and contents. With `keep_duplicates` nothing counts as equal."""

    def __init__(self, keep_duplicates: bool) -> None:
        self._keep_duplicates = keep_duplicates
        self._places: dict[bytes, str] = {}
        self._ids: set[bytes] = set()

    def take(self, id_: str, content: bytes | None, place: str) -> tuple[str, str | None]:
        """A free id, and the place of an equal trajectory before, unless duplicates are kept.

        Args:
            content: a digest, where the id does not hold one.
            place: where the trajectory stands. Two in one place are never equal: one row may hold
                several alike.
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
