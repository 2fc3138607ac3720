"""The values of the filters, and how many trajectories have each: `index -> facets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sqlite3 import Connection

from atlas.viewing.web.index_lines import BIT_OF_KIND
from atlas.viewing.web.rows import Facet
from atlas.viewing.web.sources import ShownRun

# How many values of a filter a page offers; those of most trajectories.
MAX_VALUES = 200


def read_facets(
    connection: Connection, sources: Sequence[ShownRun]
) -> Mapping[str, tuple[Facet, ...]]:
    """The values by field of a `Query`; flags have one value."""
    titles = {source.key: source.title for source in sources}
    # The page offers every run.
    runs = dict(_counted(connection, "source", most=len(sources)))
    return {
        "run": tuple(
            Facet(source.key, source.title, runs.get(source.key, 0))
            for source in sources
            if source.kind == "trajectories"
        ),
        "environment": _facets(connection, "environment"),
        "group": _facets(connection, "grp"),
        "outcome": _facets(connection, "outcome"),
        "selector": tuple(
            Facet(key, titles.get(key, key), count)
            for key, count in connection.execute(
                "select s.source, count(*) from selections s where s.num > 0 group by s.source"
            )
        ),
        "kind": tuple(
            Facet(kind, kind.replace("_", " "), count)
            for kind, bit in BIT_OF_KIND.items()
            if (count := _count(connection, f"kinds & {bit}"))
        ),
        **{
            name: (Facet("1", name, _count(connection, condition)),)
            for name, condition in {
                "disagreement": "disagrees",
                "problem": "coalesce(fault, selection_fault) is not null",
                "flipped": "flipped",
            }.items()
        },
    }


def _facets(connection: Connection, column: str) -> tuple[Facet, ...]:
    return tuple(Facet(value, value, count) for value, count in _counted(connection, column))


def _counted(connection: Connection, column: str, most: int | None = None) -> list[tuple[str, int]]:
    sql = (
        f"select {column}, count(*) from trajectories where {column} <> '' group by {column} "
        f"order by count(*) desc, {column} limit ?"
    )
    return [tuple(row) for row in connection.execute(sql, (MAX_VALUES if most is None else most,))]


def _count(connection: Connection, condition: str) -> int:
    sql = f"select count(*) from trajectories where {condition}"
    return int(connection.execute(sql).fetchone()[0])
