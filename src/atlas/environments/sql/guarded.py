"""A database in memory that answers SELECT, and nothing else.

The agent writes the SQL, so it is treated as hostile. `query_only` is not enough: a statement can
switch it off, and ATTACH writes files. Here an authorizer names what is allowed, the number of
virtual machine steps is limited (so the result of a long query is the same on every machine), and
so are the lengths of statements, values and results.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence

# Neither random nor dependent on the clock, without a result longer than its arguments, and quick:
# `trim` with two long arguments is not.
_NAMES = (
    "abs avg coalesce count ifnull iif instr length like lower max min nullif round substr "
    "substring sum total typeof upper"
)
FUNCTIONS = frozenset(_NAMES.split())
# Steps of SQLite's virtual machine for one query, and how often they are counted.
MAX_STEPS = 100_000
STEPS_PER_TICK = 1_000
MAX_STATEMENT = 1_000
# Named subqueries (WITH) may refer to each other; SQLite copies each at every place that names it.
MAX_NAMED = 2
MAX_VALUE = 500
LIMITS = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: MAX_STATEMENT,
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_VALUE,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 30,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 10,
    sqlite3.SQLITE_LIMIT_COLUMN: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
MAX_ROWS = 10
MAX_CELL = 60
# Strings, names in quotes and comments, in which words and other quotes mean nothing.
_QUOTED = re.compile(
    r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|$)", re.DOTALL
)
_READS = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
_NAMED = re.compile(r"\bas\s*(?:not\s+)?(?:materialized\s*)?\(", re.IGNORECASE)

Cell = str | int | None
Rows = Sequence[Sequence[Cell]]


class QueryError(Exception):
    """A query that was not answered; the text is meant for the agent."""


class GuardedDatabase:
    """Tables in memory that can only be read."""

    def __init__(self, tables: Mapping[str, tuple[Mapping[str, str], Rows]]) -> None:
        # Worlds may move between threads, one at a time.
        self._connection = sqlite3.connect(":memory:", check_same_thread=False)
        self._columns = {name: columns for name, (columns, _) in tables.items()}
        self._num_ticks = 0
        self._connection.execute("pragma temp_store = memory")
        for name, (columns, rows) in tables.items():
            listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            self._connection.execute(f"create table {name} ({listed})")
            marks = ", ".join("?" * len(columns))
            self._connection.executemany(f"insert into {name} values ({marks})", rows)
        self._connection.commit()
        for limit, value in LIMITS.items():
            self._connection.setlimit(limit, value)
        self._connection.set_progress_handler(self._is_too_long, STEPS_PER_TICK)
        self._connection.set_authorizer(self._authorize)

    def query(self, statement: str) -> str:
        """The result of a SELECT as text: names of the columns, then at most ten rows.

        Raises:
            QueryError: the statement is not allowed, wrong, or too expensive.
        """
        if not _READS.match(statement):
            raise QueryError("a statement begins with SELECT or WITH")
        if len(statement) > MAX_STATEMENT:
            raise QueryError(f"a statement may have {MAX_STATEMENT:,} characters")
        if len(_NAMED.findall(_QUOTED.sub(" ", statement))) > MAX_NAMED:
            raise QueryError(f"a statement may have {MAX_NAMED} named subqueries")
        self._num_ticks = 0
        try:
            cursor = self._connection.execute(statement)
            rows = cursor.fetchmany(MAX_ROWS + 1)
            names = [column[0] for column in cursor.description or ()]
            cursor.close()
        # One statement too many is a Warning; a null character or half a surrogate a ValueError.
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            too_long = self._num_ticks * STEPS_PER_TICK > MAX_STEPS
            raise QueryError("the query takes too long" if too_long else str(error)) from None
        lines = [" | ".join(map(_cell, row)) for row in rows[:MAX_ROWS]] or ["no rows"]
        more = [f"… only the first {MAX_ROWS} rows are shown"] if len(rows) > MAX_ROWS else []
        return "\n".join([" | ".join(name[:MAX_CELL] for name in names), *lines, *more])

    @property
    def tables(self) -> list[str]:
        """The names of the tables."""
        return list(self._columns)

    def columns_of(self, table: str) -> Mapping[str, str]:
        """The columns of a table and their types."""
        return self._columns[table]

    def rows(self, statement: str) -> list[tuple[Cell, ...]]:
        """The rows of a trusted SELECT."""
        self._num_ticks = 0
        return self._connection.execute(statement).fetchall()

    def close(self) -> None:
        """Free the memory."""
        self._connection.close()

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        match action:
            case sqlite3.SQLITE_SELECT | sqlite3.SQLITE_RECURSIVE:
                allowed = True
            case sqlite3.SQLITE_FUNCTION:
                allowed = (second or "").lower() in FUNCTIONS
            case sqlite3.SQLITE_READ:
                # `count(*)` reads no column; then the table may be a named subquery.
                allowed = first in self._columns or not second
            case _:
                allowed = False
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    def _is_too_long(self) -> bool:
        self._num_ticks += 1
        return self._num_ticks * STEPS_PER_TICK > MAX_STEPS


def _cell(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bytes():
            return f"blob of {len(value)} bytes"
        case float():
            return f"{value:.10g}"
        case _:
            text = " ".join(str(value).split())
            return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}…"
