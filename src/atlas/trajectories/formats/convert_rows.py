"""Rows through a format: `rows -> lines and problems`, one bad row at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.accounting import settle, without_ignored
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow, printable
from atlas.trajectories.trajectory_lines import TrajectoryLine

# What a format makes of a row. A line is accounted for by whoever made it.
Converted = Trajectory | Reading | TrajectoryLine


def convert_rows(
    rows: Iterable[SourceRow | Problem],
    convert: Callable[[SourceRow], Converted | Iterable[Converted | Problem]],
    metadata: tuple[str, ...] = (),
    ignored: tuple[str, ...] = (),
    parsed: tuple[str, ...] = (),
    accounted: Callable[[SourceRow], Sequence[SourceRow]] | None = None,
) -> Iterator[Item]:
    """Each row through `convert`, which may find several trajectories in it.

    What cannot be converted becomes a problem that names row and message; so does a row of which
    content would be lost (`settle` says what the other arguments are).

    Args:
        accounted: the rows to account for instead of a row that holds things twice, or that shares
            something with others.
    """
    for row in rows:
        if not isinstance(row, SourceRow):
            yield row
            continue
        try:
            made = convert(row)
            found = [made] if isinstance(made, Converted) else [*made]
            for one in found:
                if isinstance(one, TrajectoryLine):
                    yield without_ignored(one, ignored) if ignored and one.unread else one
                elif isinstance(one, Problem):
                    yield one
            read = [one for one in found if isinstance(one, Trajectory | Reading)]
            parts = accounted(row) if accounted else [row]
            yield from settle(parts, read, metadata, ignored, parsed)
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


def _item(value: Any) -> str | None:
    """What the row calls itself, for the list of problems."""
    if not isinstance(value, dict):
        return None
    item = value.get("item_id", value.get("task_id", value.get("id")))
    return printable(str(item)) if isinstance(item, str | int) else None
