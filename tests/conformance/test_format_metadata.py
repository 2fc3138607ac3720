"""The paths of metadata that each format lists."""

from __future__ import annotations

import pytest

from atlas.kinds import Choice
from atlas.trajectories.formats.base import FORMAT, FORMATS
from atlas.trajectories.formats.metadata import CERTAIN_CONTENT_KEYS


@pytest.mark.parametrize("name", FORMATS)
def test_no_path_of_metadata_is_covered_by_another(name: str) -> None:
    paths = {*getattr(FORMAT.make(Choice(name)), "metadata", ())}
    assert [path for path in paths if _is_covered(path, paths - {path})] == []


def _is_covered(path: str, others: set[str]) -> bool:
    """Whether another path stands for this one, from the root or at any place.

    What looks like content within metadata is metadata only if its own path is listed.
    """
    keys = path.removeprefix("*.").split(".")
    for length in range(1, len(keys) + 1):
        if not CERTAIN_CONTENT_KEYS.isdisjoint(keys[length:]):
            continue
        found = {f"*.{'.'.join(keys[start:length])}" for start in range(length)}
        if not path.startswith("*."):
            found.add(".".join(keys[:length]))
        if found & others:
            return True
    return False
