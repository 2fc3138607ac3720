"""Lessons of the SQL world: looking around, simple queries about anything, answers that they gave.

In some episodes the question names the table and the column of the query itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from atlas.environments.react import react_message
from atlas.environments.sql.config import SqlConfig
from atlas.environments.sql.environment import SqlEnvironment
from atlas.environments.sql.expert import ANSWERS, GUESSES, QUERIES, SAMPLES, SLIPS, STARTS
from atlas.environments.sql.guarded import GuardedDatabase
from atlas.environments.sql.questions import QUESTIONS
from atlas.environments.sql.schemas import SCHEMAS, WORDS, Schema, TableKind
from atlas.records import Task
from worlds.common import Conversation, any_phrase, ask, play, request

TOLD_QUERY = 0.5
# Far from the seeds of tasks.
FIRST_SEED = 500_000_000


def names() -> tuple[str, ...]:
    """What is in the databases, and what questions call it."""
    return tuple(
        dict.fromkeys(
            [
                name
                for schema in SCHEMAS.values()
                for table in (schema.parent, schema.child, schema.other)
                for name in (
                    *(table.name, table.one, table.many, schema.name),
                    *(word for column in table.columns for word in (column.name, column.said)),
                )
            ]
            + [word for kind, words in WORDS.items() if kind != "person" for word in words]
            + [
                "count",
                "sum",
                "max",
                "min",
                "where",
                "join",
                "order by",
                "group by",
                "limit",
                "select",
            ]
        )
    )


def lessons(rng: random.Random) -> Iterator[Conversation]:
    """One database that is looked at, and questions and requests about it."""
    environment = SqlEnvironment(SqlConfig(max_steps=30))
    task = Task(
        id="base/sql",
        environment="sql",
        group=rng.choice(list(QUESTIONS)),
        seed=FIRST_SEED + rng.randrange(100_000_000),
    )
    seen = environment.reset(task)[0].content
    episode = environment.episode
    schema, database = episode.schema, episode.database
    table = rng.choice((schema.parent, schema.child, schema.child, schema.other))
    direct, query = _query(rng, table, database)
    question = episode.question.text
    if rng.random() < TOLD_QUERY:
        seen, question = f"Database: {schema.name}.\nQuestion: {direct}", direct
    steps: list[tuple[str, str, str]] = []
    for thought, action in _looks(rng, schema, table, query, question):
        steps.append((seen, thought, action))
        seen = environment.step(react_message(thought, action)).observation[0].content
        if action.startswith("describe") and rng.random() < 0.7:
            yield ask(seen, *_questions(rng, seen))
            other, its_query = _query(rng, table, database)
            yield request(rng, f"{seen}\n{other}", "answer the question", its_query)
    value = seen.rpartition("\n")[2]
    thought = any_phrase(rng, ANSWERS, value=value)
    steps.append((seen, thought, f"answer {value}"))
    yield play(environment.prompt, steps)
    environment.close()


def _looks(
    rng: random.Random, schema: Schema, table: TableKind, query: str, question: str
) -> Iterator[tuple[str, str]]:
    words = {"table": table.name, "many": table.many, "nouns": table.many, "question": question}
    yield any_phrase(rng, STARTS, **words), "tables"
    if rng.random() < 0.25:
        other = rng.choice((schema.parent, schema.other))
        yield any_phrase(rng, GUESSES, table=other.name, many=table.many), f"describe {other.name}"
    yield any_phrase(rng, GUESSES, **words), f"describe {table.name}"
    if rng.random() < 0.15:
        yield any_phrase(rng, SAMPLES, **words), f"select * from {table.name} limit 3"
    yield any_phrase(rng, rng.choice((QUERIES, SLIPS)), **words), query


def _query(rng: random.Random, table: TableKind, database: GuardedDatabase) -> tuple[str, str]:
    """A question in the words of the table itself, and its query."""
    column = rng.choice(table.columns)
    where, told = "", ""
    if rng.random() < 0.6:
        other = rng.choice([one for one in table.columns if not one.is_number])
        value = rng.choice(database.rows(f"select distinct {other.name} from {table.name}"))[0]
        quoted = f"'{value}'" if isinstance(value, str) else str(value)
        where, told = f" where {other.name} = {quoted}", f" with {other.name} {quoted}"
    if column.is_number:
        name, word = rng.choice((("sum", "total"), ("max", "highest"), ("min", "lowest")))
        text = f"What is the {word} {column.name} in {table.name}{told}?"
        return text, f"select {name}({column.name}) from {table.name}{where}"
    if rng.random() < 0.5:
        text = f"How many rows has {table.name}{told}?"
        return text, f"select count(*) from {table.name}{where}"
    number = rng.randint(1, 4)
    text = f"What is {column.name} of number {number} in {table.name}?"
    return text, f"select {column.name} from {table.name} where id = {number}"


def _questions(rng: random.Random, seen: str) -> list[tuple[str, str]]:
    """Questions about the columns of a table."""
    _, _, listed = seen.partition(": ")
    columns = [one.split(" (")[0] for one in listed.split(", ")]
    texts = [one.split(" (")[0] for one in listed.split(", ") if "(text" in one]
    asked = [
        ("Which columns has the table?", ", ".join(columns)),
        ("Which columns hold text?", ", ".join(texts) or "none"),
        ("What is the last column?", columns[-1]),
    ]
    return rng.sample(asked, 2)
