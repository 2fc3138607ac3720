"""The tasks of the SQL world: a database and a question for each seed, divided by content.

`train` and `held_in_test` ask five kinds of questions about six databases. `held_out_test` asks
these about three other databases, and four other kinds about all nine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.environments.experts import stream
from atlas.environments.splits import check_split, draw_tasks, kinds_in_turn, split_of
from atlas.environments.sql.guarded import GuardedDatabase
from atlas.environments.sql.questions import (
    HELD_OUT_QUESTIONS,
    QUESTIONS,
    TRAIN_QUESTIONS,
    Question,
)
from atlas.environments.sql.schemas import HELD_OUT_SCHEMAS, SCHEMAS, TRAIN_SCHEMAS, Schema, fill
from atlas.errors import DataError
from atlas.records import Task

SPLITS = ("train", "held_in_test", "held_out_test")
# The end of a group's name: a known kind of question about a database that no training task has.
NEW_TABLES = "-new-tables"


@dataclass(frozen=True, slots=True)
class SqlTask:
    """A database with rows, and a question about it."""

    schema: Schema
    database: GuardedDatabase
    question: Question


def sql_tasks(split: str, num_tasks: int, seed: int) -> list[Task]:
    """The first `num_tasks` tasks of a split, one kind of question after the other.

    Raises:
        ConfigError: the split is unknown, or has fewer tasks.
    """
    check_split("sql", split, SPLITS)
    is_held_out = split == "held_out_test"
    groups = (
        (*HELD_OUT_QUESTIONS, *(f"{kind}{NEW_TABLES}" for kind in TRAIN_QUESTIONS))
        if is_held_out
        else tuple(TRAIN_QUESTIONS)
    )
    candidates = _candidates(groups, split, seed)
    return draw_tasks(
        "sql", split, num_tasks, candidates, lambda one: is_held_out or split_of(one) == split
    )


def make_task(group: str, seed: int | None) -> SqlTask:
    """The database and the question of a task; the caller closes the database.

    Raises:
        DataError: the group is not one of this world.
    """
    kind = group.removesuffix(NEW_TABLES)
    if kind not in QUESTIONS or seed is None:
        raise DataError(f"sql: a task has the group '{group}' and the seed {seed}. Not of sql?")
    rng = stream("sql task", group, seed)
    while True:
        schema = rng.choice(_schemas(group))
        database = GuardedDatabase(fill(schema, rng))
        question = QUESTIONS[kind](schema, database, rng)
        if question is not None:
            return SqlTask(schema, database, question)
        # Such as a tie of two customers where the answer is to be one.
        database.close()


def _schemas(group: str) -> Sequence[Schema]:
    if group in HELD_OUT_QUESTIONS:
        return tuple(SCHEMAS.values())
    return HELD_OUT_SCHEMAS if group.endswith(NEW_TABLES) else TRAIN_SCHEMAS


def _candidates(groups: Sequence[str], split: str, seed: int) -> Iterator[tuple[str, Task]]:
    for group, own_seed in kinds_in_turn(groups, seed):
        made = make_task(group, own_seed)
        made.database.close()
        question = made.question
        task = Task(
            id=f"sql/{group}/{own_seed}",
            environment="sql",
            group=group,
            split=split,
            seed=own_seed,
            goal=question.text,
        )
        yield repr((made.schema.name, question.text, question.answer)), task
