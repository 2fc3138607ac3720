"""Rows of a source, and what a format makes of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from atlas.records import Problem, Source, Trajectory
from atlas.trajectories.formats.decoding import content_hash
from atlas.trajectories.react_turns import Remark
from atlas.trajectories.trajectory_lines import TrajectoryLine, line_of

# What a format finds. A line stands for a trajectory of which no record had to be made.
Item = Trajectory | TrajectoryLine | Problem
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One decoded row.

    Attributes:
        file: the name of the file, for people.
        index: counts from 0, as `Source.row` does.
        line: counts from 1, where the file has lines.
        where: the place of the row, for people.
        known_hash: the content hash, where it was computed while decoding.
    """

    file: str
    index: int
    value: Any
    where: str
    line: int | None = None
    known_hash: str | None = field(default=None, repr=False, compare=False)

    @property
    def content_hash(self) -> str:
        """12 hex digits of the decoded content: equal rows have equal ones in any file."""
        return self.known_hash or content_hash(self.value)

    def part(self, value: Any) -> SourceRow:
        """A value within this row, in the place of the row."""
        return replace(self, value=value, known_hash=None)

    def source(self, format_name: str, details: dict[str, Any]) -> Source:
        """Where a trajectory made of this row came from."""
        return Source(
            name=format_name, path=self.file, row=self.index, line=self.line, details=details
        )


class Reading(NamedTuple):
    """A trajectory, with remarks of its format on what was left out; index -1 is all of it."""

    trajectory: Trajectory
    remarks: Sequence[Remark] = ()


class BadRowError(Exception):
    """A row that is not a trajectory; `convert_rows` catches it and adds the place of the row."""

    def __init__(self, reason: str, message: int | None = None) -> None:
        super().__init__(reason)
        self.message = message

    def place(self, where: str) -> str:
        """`where`, with the number of the message that is wrong."""
        return where if self.message is None else f"{where}, message {self.message}"


def as_line(item: Item) -> TrajectoryLine | Problem:
    """An item with the line of its record, or the problem that it cannot be written."""
    if not isinstance(item, Trajectory):
        return item
    try:
        return line_of(item)
    except RecursionError as error:
        return Problem(where=item.id, reason=str(error), item=item.task.id)


def printable(text: str) -> str:
    """A text without halves of surrogate pairs, which no record can hold."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
