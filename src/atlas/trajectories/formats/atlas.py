"""Trajectories that `collect`, `import` and `evaluate` wrote: one record a row, kept whole.

Id, annotations and source stay as they were: nothing shows that they were imported again.
"""

from __future__ import annotations

from typing import Any

from atlas.records import SCHEMA_VERSION, Trajectory
from atlas.trajectories.formats.base import RowFormat
from atlas.trajectories.formats.decoding import is_deeper
from atlas.trajectories.formats.rows import BadRowError, SourceRow
from atlas.trajectories.trajectory_lines import TrajectoryLine, line_of

# Of the decoder of records, less the levels around.
MAX_DEPTH = 190
KEYS = frozenset({"version", "id", "task", "steps", "outcome", "source"})


class AtlasFormat(RowFormat):
    """Reads the records of an atlas run; import takes its run folder as a path."""

    def matches(self, row: Any) -> bool:
        return isinstance(row, dict) and row.keys() >= KEYS

    def convert(self, row: SourceRow) -> TrajectoryLine:
        if not self.matches(row.value):
            expected = f"expected an object with {', '.join(sorted(KEYS))}"
            raise BadRowError(f"not a trajectory written by atlas, {expected}")
        version = row.value["version"]
        if version != SCHEMA_VERSION:
            reason = f"version is {version!r:.60}, expected {SCHEMA_VERSION}"
            raise BadRowError(f"{reason}. Read it with the release that wrote it")
        trajectory = Trajectory.model_validate(row.value)
        if is_deeper([*trajectory.tools, trajectory.source.details], MAX_DEPTH):
            raise BadRowError(
                f"nested too deeply: more than {MAX_DEPTH} levels in tools or details"
            )
        # A record refuses fields that it does not know, so no leaf is lost.
        return line_of(trajectory)
