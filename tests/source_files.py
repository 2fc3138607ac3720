"""Files read by a format, as import reads them."""

from __future__ import annotations

from pathlib import Path

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats import base
from atlas.trajectories.formats.rows import SourceRow
from atlas.trajectories.formats.source_file import SourceFile


def read_file(format_name: str, path: Path) -> list[Trajectory | Problem]:
    with SourceFile(path) as source:
        return list(base.FORMAT.make(Choice(format_name)).read(source))


def read_rows(path: Path) -> list[SourceRow | Problem]:
    with SourceFile(path) as source:
        return list(source.rows())


def detect_format(path: Path) -> str:
    with SourceFile(path) as source:
        return base.detect_format(source)


def matches(format_name: str, row: object) -> bool:
    return base.FORMAT.make(Choice(format_name)).matches(row)
