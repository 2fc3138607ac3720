"""Our own trajectories, as `collect`, `import` and `evaluate` wrote them: one record a row, kept whole.

Id, annotations and source stay what they were; nothing says that they came through here a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.records import SCHEMA_VERSION, Problem, Trajectory
from atlas.trajectories.formats.rows import BadRowError, Row, convert_rows

KEYS = frozenset({"version", "id", "task", "steps", "outcome", "source"})


class AtlasFormat:
    """Reads the records file of a run of ours; a run folder is given as the folder."""

    def matches(self, row: Any) -> bool:
        return isinstance(row, dict) and row.keys() >= KEYS

    def convert(self, row: Row, path: Path) -> Trajectory:
        return _trajectory(row)

    def read(self, path: Path) -> Iterator[Trajectory | Problem]:
        return convert_rows(path, lambda row: self.convert(row, path))


def _trajectory(row: Row) -> Trajectory:
    if not isinstance(row.value, dict) or not row.value.keys() >= KEYS:
        raise BadRowError(
            f"not a trajectory of ours, expected an object with {', '.join(sorted(KEYS))}"
        )
    if row.value["version"] != SCHEMA_VERSION:
        raise BadRowError(
            f"version is {row.value['version']!r:.60}, expected {SCHEMA_VERSION}. Read it with the release that wrote it"
        )
    return Trajectory.model_validate(row.value)
