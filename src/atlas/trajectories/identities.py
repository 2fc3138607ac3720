"""Which trajectories are the same, and ids that no two share: `id, content -> id of its own, or the place of the earlier one`.

Formats put a hash of the row into the id, so one id is one content. Only our own records carry ids that say nothing about the
content (task and player); for them the content comes along. What is remembered of a trajectory is 16 bytes and its place.
"""

from __future__ import annotations

import hashlib


class Identities:
    """Remembers what went by. With `keep_duplicates` nothing counts as the same."""

    def __init__(self, keep_duplicates: bool) -> None:
        self._keep_duplicates = keep_duplicates
        self._places: dict[bytes, str] = {}
        self._ids: set[bytes] = set()

    def take(self, id_: str, content: bytes | None, place: str) -> tuple[str, str | None]:
        """The id to go by, and where the same trajectory stood earlier, if it did and is not to be kept.

        Args:
            content: a digest, where the id does not hold one.
            place: where the trajectory stands. Two of one place are never the same: one row may hold several alike.
        """
        earlier = self._places.setdefault(
            _digest(id_ if content is None else f"{id_} {content.hex()}"), place
        )
        if earlier != place and not self._keep_duplicates:
            return id_, earlier
        free, number = id_, 1
        while (key := _digest(free)) in self._ids:
            number += 1
            free = f"{id_}-{number}"
        self._ids.add(key)
        return free, None


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
