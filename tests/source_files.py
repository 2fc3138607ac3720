"""Files read by a format, as import reads them. A line that was written without a record is the
line that its record would have."""

from __future__ import annotations

from pathlib import Path

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats import base
from atlas.trajectories.formats.rows import Item, SourceRow
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine, line_of


def read_file(format_name: str, path: Path) -> list[Trajectory | Problem]:
    with SourceFile(path) as source:
        return [_record(item) for item in base.FORMAT.make(Choice(format_name)).read(source)]


def read_rows(path: Path) -> list[SourceRow | Problem]:
    with SourceFile(path) as source:
        return list(source.rows())


def detect_format(path: Path) -> str:
    with SourceFile(path) as source:
        return base.detect_format(source)


def matches(format_name: str, row: object) -> bool:
    return base.FORMAT.make(Choice(format_name)).matches(row)


def _record(item: Item) -> Trajectory | Problem:
    if not isinstance(item, TrajectoryLine):
        return item
    trajectory = Trajectory.model_validate_json(item.line)
    whole = line_of(trajectory)
    # Its format may have more remarks, and knows what it did not read.
    assert set(whole.remarks) <= set(item.remarks)
    assert item._replace(remarks=whole.remarks, unread=()) == whole
    return trajectory
