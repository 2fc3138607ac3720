"""Reads rows of the index: `query -> SQL`. Values are always parameters, never part of the SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from sqlite3 import Connection
from sqlite3 import Row as Found
from typing import Any

from atlas.records import CRITICAL_KINDS
from atlas.viewing.web.index_lines import BIT_OF_KIND
from atlas.viewing.web.query import ANY, Query
from atlas.viewing.web.rows import Row

# What each name of `query.SORTS` sorts by; no value is null, so that rows can be compared.
COLUMN_OF_SORT = {
    "order": "t.number",
    "id": "t.id",
    "task": "t.task",
    "outcome": "t.outcome",
    "score": "ifnull(t.score, -1e308)",
    "steps": "t.steps",
    "selected": "t.selected",
}
# Field of a query -> the column that must have its value.
_EQUAL = {"run": "source", "environment": "environment", "group": "grp", "outcome": "outcome"}
FAULT = "coalesce(t.fault, t.selection_fault)"
# Every word that may go on costs as much as all words that begin like it.
MAX_WORDS = 20
_PHRASE = re.compile(r'"([^"]*)"|(\S+)')
_FLIPPED = """(t.task, t.environment) in (
  select task, environment from trajectories where source = ? and outcome = 'success'
  intersect
  select task, environment from trajectories where source = ?
    and outcome in ('failure', 'truncated'))"""


@dataclass(slots=True)
class _Where:
    """Conditions that all hold, and the values of their question marks."""

    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        self.conditions.append(condition)
        self.values += values

    @property
    def sql(self) -> str:
        return f"where {' and '.join(self.conditions)}" if self.conditions else ""


def count_rows(connection: Connection, query: Query) -> int:
    """The number of rows of a query on all pages."""
    where = _where(query)
    sql = f"select count(*) from trajectories t {where.sql}"
    return int(connection.execute(sql, where.values).fetchone()[0])


def rows_of_page(connection: Connection, query: Query) -> list[Row]:
    """The rows of the page of a query."""
    where = _where(query)
    column, direction = _sort_of(query)
    # The numbers first: a sort that carries whole rows takes several times as long.
    sql = (
        f"select * from trajectories where number in (select number from trajectories t "
        f"{where.sql} order by {column} {direction}, t.number {direction} limit ? offset ?)"
    )
    found = connection.execute(sql, [*where.values, query.size, (query.page - 1) * query.size])
    rows = {row["number"]: row for row in found}
    ordered = connection.execute(
        f"select t.number from trajectories t where t.number in (select value from json_each(?)) "
        f"order by {column} {direction}, t.number {direction}",
        [json.dumps(list(rows))],
    )
    return [row_of(rows[number]) for (number,) in ordered]


def row_beside(connection: Connection, query: Query, number: int, *, is_next: bool) -> Row | None:
    """The row before or after the one with a number, in the order of a query."""
    where = _where(query)
    column, direction = _sort_of(query)
    is_up = (direction == "asc") == is_next
    sign, order = (">", "asc") if is_up else ("<", "desc")
    where.add(
        f"({column}, t.number) {sign} (select {column}, t.number from trajectories t "
        "where t.number = ?)",
        number,
    )
    # A line without an id has no page, and a second one of an id shows the first one.
    where.add(
        "t.id <> '' and not exists (select 1 from trajectories e "
        "where e.source = t.source and e.id = t.id and e.number < t.number)"
    )
    sql = (
        f"select t.* from trajectories t {where.sql} "
        f"order by {column} {order}, t.number {order} limit 1"
    )
    found = connection.execute(sql, where.values).fetchone()
    return None if found is None else row_of(found)


def row_of(found: Found) -> Row:
    """A row of the table as the record that pages use."""
    mask = found["kinds"]
    return Row(
        source=found["source"],
        id=found["id"],
        number=found["number"],
        task_id=found["task"],
        environment=found["environment"],
        group=found["grp"],
        outcome=found["outcome"],
        score=found["score"],
        num_steps=found["steps"],
        goal=found["goal"],
        num_critical=json.loads(found["counts"]),
        kinds=tuple(kind for kind in CRITICAL_KINDS if mask & BIT_OF_KIND[kind]),
        disagrees=bool(found["disagrees"]),
        flipped=bool(found["flipped"]),
        problem=found["fault"] or found["selection_fault"],
    )


def _sort_of(query: Query) -> tuple[str, str]:
    column = COLUMN_OF_SORT[query.sort.removeprefix("-")]
    return column, "desc" if query.sort.startswith("-") else "asc"


def _where(query: Query) -> _Where:
    where = _Where()
    for column in _EQUAL:
        if value := getattr(query, column):
            where.add(f"t.{_EQUAL[column]} = ?", value)
    if query.task:
        where.add("substr(t.task, 1, ?) = ?", len(query.task), query.task)
    if query.disagreement:
        where.add("t.disagrees")
    if query.problem:
        where.add(f"{FAULT} is not null")
    if query.text:
        matches = "select rowid from words where words match ?"
        where.add(f"t.number in ({matches})", _match(query.text))
    _add_selected(where, query)
    _add_flipped(where, query.flipped)
    return where


def _add_selected(where: _Where, query: Query) -> None:
    """Steps of a kind, selected by anyone or by one selection."""
    kinds = BIT_OF_KIND.get(query.kind, 0)
    if query.selector:
        selected = "select 1 from selections s where s.source = ? and s.id = t.id and s.num > 0"
        where.add(
            f"exists ({selected} and (? = 0 or s.kinds & ?)) "
            # Another run may have a trajectory of this name.
            "and exists (select 1 from json_each(t.counts) c where c.key = ?)",
            query.selector,
            kinds,
            kinds,
            query.selector,
        )
    elif kinds:
        where.add("t.kinds & ?", kinds)


def _add_flipped(where: _Where, flipped: str) -> None:
    if flipped == ANY:
        where.add("t.flipped")
    elif flipped:
        left, _, right = flipped.partition(":")
        condition = f"t.source in (?, ?) and ({_FLIPPED} or {_FLIPPED})"
        where.add(condition, left, right, left, right, right, left)


def _match(text: str) -> str:
    """A search of FTS5 from what a person typed: all words, each as a beginning; "quoted" whole."""
    return " ".join(list(_phrases(text))[:MAX_WORDS]) or '""'


def _phrases(text: str) -> Iterator[str]:
    # A NUL would end the text inside of SQLite.
    for quoted, word in _PHRASE.findall(text.replace("\0", " ")):
        phrase = (quoted or word).replace('"', '""')
        # FTS5 finds nothing by a phrase without a letter or digit.
        if any(character.isalnum() for character in phrase):
            yield f'"{phrase}"' if quoted else f'"{phrase}"*'
