"""Rows and what becomes of them: `rows -> trajectories and problems`, one bad row at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pydantic import ValidationError

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


def convert_rows(
    rows: Iterable[SourceRow | Problem],
    convert: Callable[[SourceRow], Trajectory | TrajectoryLine | Iterable[Item]],
) -> Iterator[Item]:
    """Each row through `convert`, which may find several trajectories in it.

    What cannot be converted becomes a problem that names row and message.
    """
    for row in rows:
        if not isinstance(row, SourceRow):
            yield row
            continue
        try:
            made = convert(row)
            if isinstance(made, Reading):
                line = line_of(made.trajectory)
                yield line._replace(remarks=sorted([*line.remarks, *made.remarks]))
            elif isinstance(made, (TrajectoryLine, Trajectory)):
                yield made
            else:
                yield from made
        except BadRowError as error:
            where = error.place(row.where)
            yield Problem(where=where, reason=printable(str(error)), item=_item(row.value))
        except RecursionError:
            reason = "not usable: nested too deeply"
            yield Problem(where=row.where, reason=reason, item=_item(row.value))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            reason = printable(f"not a trajectory: {place}: {first['msg']}")
            yield Problem(where=row.where, reason=reason, item=_item(row.value))


def printable(text: str) -> str:
    """A text without halves of surrogate pairs, which no record can hold."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _item(value: Any) -> str | None:
    """What the row calls itself, for the list of problems."""
    if not isinstance(value, dict):
        return None
    item = value.get("item_id", value.get("task_id", value.get("id")))
    return printable(str(item)) if isinstance(item, str | int) else None
