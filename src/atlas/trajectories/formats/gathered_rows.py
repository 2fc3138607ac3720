"""Rows that are parts of one run -> one row: for files whose rows are events or steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from atlas.records import Problem
from atlas.trajectories.formats.rows import SourceRow


def gathered(
    rows: Iterable[SourceRow | Problem],
    starts: Callable[[Any], bool],
    continues: Callable[[Any], bool],
) -> Iterator[SourceRow | Problem]:
    """The rows, with those of a run as one row that holds the list of them.

    Args:
        starts: whether a value is certainly a part of a run.
        continues: whether a value within a run may be a part of it, so that one of an unknown kind
            is reported there.
    """
    run: list[SourceRow] = []
    for row in rows:
        if isinstance(row, SourceRow) and (starts(row.value) or (run and continues(row.value))):
            run.append(row)
            continue
        yield from _as_one(run)
        run = []
        yield row
    yield from _as_one(run)


def _as_one(run: Sequence[SourceRow]) -> Iterator[SourceRow]:
    if run:
        yield run[0].part([row.value for row in run])
