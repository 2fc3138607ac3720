"""Trajectories that `collect`, `import` and `evaluate` wrote: one record a row, kept whole.

Id, annotations and source stay as they were: nothing shows that they were imported again.
"""

from __future__ import annotations

from typing import Any

from atlas.records import SCHEMA_VERSION, Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.rows import BadRowError, SourceRow

KEYS = frozenset({"version", "id", "task", "steps", "outcome", "source"})


class AtlasFormat(RowFormat):
    """Reads the records of an atlas run; import takes its run folder as a path."""

    def matches(self, row: Any) -> bool:
        return isinstance(row, dict) and row.keys() >= KEYS

    def convert(self, row: SourceRow) -> Trajectory:
        if not isinstance(row.value, dict) or not row.value.keys() >= KEYS:
            raise BadRowError(
                "not a trajectory written by atlas, "
                f"expected an object with {', '.join(sorted(KEYS))}"
            )
        if row.value["version"] != SCHEMA_VERSION:
            raise BadRowError(
                f"version is {row.value['version']!r:.60}, expected {SCHEMA_VERSION}. "
                "Read it with the release that wrote it"
            )
        return Trajectory.model_validate(row.value)
