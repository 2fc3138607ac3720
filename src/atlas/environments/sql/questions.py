"""The kinds of questions: each is a sentence, and the queries that lead to its answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atlas.environments.sql.guarded import Cell, GuardedDatabase
from atlas.environments.sql.schemas import Schema

Ask = Callable[[Schema, GuardedDatabase, random.Random], "Question | None"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and how to answer it.

    Attributes:
        tables: the tables that the answer needs, in the order in which one looks at them.
        queries: the queries in order; `{0}` in a later one is the result of the first.
        condition: the part of the last query that a careless reader forgets; empty if none.
        answer: the result of the last query.
    """

    text: str
    tables: tuple[str, ...]
    queries: tuple[str, ...]
    condition: str
    answer: str


def _ask(
    database: GuardedDatabase,
    text: str,
    tables: tuple[str, ...],
    queries: tuple[str, ...],
    condition: str = "",
) -> Question | None:
    """The question with its answer; None if the answer is missing or not unique."""
    found: list[Cell] = []
    for query in queries:
        rows = database.rows(query.format(*found))
        if len(rows) != 1 or rows[0][0] is None:
            return None
        found.append(rows[0][0])
    return Question(text, tables, queries, condition, str(found[-1]))


def _value(database: GuardedDatabase, rng: random.Random, table: str, column: str) -> Cell:
    rows = database.rows(f"select distinct {column} from {table} order by 1")
    return rng.choice(rows)[0]


def _count(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    child, word = schema.child, schema.child.column("word")
    value = _value(database, rng, child.name, word.name)
    condition = f" where {word.name} = '{value}'"
    text = f"How many {child.many} have the {word.said} '{value}'?"
    query = f"select count(*) from {child.name}{condition}"
    return _ask(database, text, (child.name,), (query,), condition)


def _total(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    child, number, year = schema.child, schema.child.column("number"), schema.child.column("year")
    value = _value(database, rng, child.name, year.name)
    condition = f" where {year.name} = {value}"
    text = f"What is the total {number.said} of all {child.many} in {value}?"
    query = f"select sum({number.name}) from {child.name}{condition}"
    return _ask(database, text, (child.name,), (query,), condition)


def _largest(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    child, number, word = schema.child, schema.child.column("number"), schema.child.column("word")
    value = _value(database, rng, child.name, word.name)
    condition = f" where {word.name} = '{value}'"
    text = f"What is the highest {number.said} of {child.many} with the {word.said} '{value}'?"
    query = f"select max({number.name}) from {child.name}{condition}"
    return _ask(database, text, (child.name,), (query,), condition)


def _joined(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    parent, child = schema.parent, schema.child
    number, place, ref = child.column("number"), parent.column("word"), child.column("ref")
    value = _value(database, rng, parent.name, place.name)
    condition = f" where {parent.name}.{place.name} = '{value}'"
    text = (
        f"What is the total {number.said} of the {child.many} of all {parent.many} whose "
        f"{place.said} is '{value}'?"
    )
    query = f"select sum({child.name}.{number.name}) from {_join(schema)}{condition}"
    assert ref.name in query
    return _ask(database, text, (child.name, parent.name), (query,), condition)


def _top(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    parent, child = schema.parent, schema.child
    number, ref, name = child.column("number"), child.column("ref"), parent.column("person")
    text = (
        f"Which {parent.one} has the highest total {number.said} over all {child.many}? "
        "Answer with the name."
    )
    totals = database.rows(f"select sum({number.name}) from {child.name} group by {ref.name}")
    best = max(totals)
    first = (
        f"select {ref.name} from {child.name} group by {ref.name} "
        f"order by sum({number.name}) desc limit 1"
    )
    second = f"select {name.name} from {parent.name} where id = {{0}}"
    tables = (child.name, parent.name)
    return _ask(database, text, tables, (first, second)) if totals.count(best) == 1 else None


def _different(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    parent, child, word = schema.parent, schema.child, schema.child.column("word")
    place = parent.column("word")
    value = _value(database, rng, parent.name, place.name)
    condition = f" where {parent.name}.{place.name} = '{value}'"
    text = (
        f"How many different values of {word.said} have the {child.many} of {parent.many} whose "
        f"{place.said} is '{value}'?"
    )
    query = f"select count(distinct {child.name}.{word.name}) from {_join(schema)}{condition}"
    return _ask(database, text, (child.name, parent.name), (query,), condition)


def _at_least(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    parent, child, ref = schema.parent, schema.child, schema.child.column("ref")
    least = rng.randint(2, 4)
    condition = f" having count(*) >= {least}"
    text = f"How many {parent.many} have at least {least} {child.many}?"
    inner = f"select {ref.name} from {child.name} group by {ref.name}{condition}"
    return _ask(database, text, (child.name,), (f"select count(*) from ({inner})",), condition)


def _without(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    parent, child, ref = schema.parent, schema.child, schema.child.column("ref")
    year = child.column("year")
    value = _value(database, rng, child.name, year.name)
    condition = f" where {year.name} = {value}"
    text = f"How many {parent.many} have no {child.one} in {value}?"
    inner = f"select {ref.name} from {child.name}{condition}"
    query = f"select count(*) from {parent.name} where id not in ({inner})"
    return _ask(database, text, (child.name, parent.name), (query,), condition)


def _second(schema: Schema, database: GuardedDatabase, rng: random.Random) -> Question | None:
    child, number, word = schema.child, schema.child.column("number"), schema.child.column("word")
    value = _value(database, rng, child.name, word.name)
    condition = f" where {word.name} = '{value}'"
    text = (
        f"What is the second highest {number.said} of {child.many} with the {word.said} "
        f"'{value}'? Equal values count once."
    )
    query = (
        f"select distinct {number.name} from {child.name}{condition} "
        f"order by {number.name} desc limit 1 offset 1"
    )
    return _ask(database, text, (child.name,), (query,), condition)


def _join(schema: Schema) -> str:
    parent, child, ref = schema.parent.name, schema.child.name, schema.child.column("ref").name
    return f"{child} join {parent} on {parent}.id = {child}.{ref}"


TRAIN_QUESTIONS: Mapping[str, Ask] = {
    "count": _count,
    "total": _total,
    "largest": _largest,
    "joined": _joined,
    "top": _top,
}
HELD_OUT_QUESTIONS: Mapping[str, Ask] = {
    "different": _different,
    "at-least": _at_least,
    "without": _without,
    "second": _second,
}
QUESTIONS: Mapping[str, Ask] = {**TRAIN_QUESTIONS, **HELD_OUT_QUESTIONS}
