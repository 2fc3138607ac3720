"""Parts of a list whose texts may have been read as one: `parts -> places and text`.

Nothing stands between the texts of neighbors, so one of them may end within a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from atlas.trajectories.formats.part_kinds import kind_of, text_of_part


def joined_parts(parts: Sequence[Any]) -> Iterator[tuple[list[int], str]]:
    """Texts of several parts that may have been read as one, and the places of these parts."""
    texts = [text_of_part(part) for part in parts]
    kinds = ["text" if isinstance(part, str) else kind_of(part) for part in parts]
    for kind in ("text", "reasoning"):
        # What ends a text: any other part, only a result, or nothing.
        for ends in ({*kinds} - {kind}, {"result"}, set()):
            group: list[int] = []
            for place, each in enumerate([*kinds, None]):
                if place < len(kinds) and each == kind and texts[place] is not None:
                    group.append(place)
                elif place == len(kinds) or each in ends:
                    if len(group) > 1:
                        yield group, "".join(texts[index] or "" for index in group)
                    group = []
