"""The expert of the SQL world: it lists the tables, looks at some of them, queries and answers.

A step is labeled where the expert plans to put tables together, where it has seen all columns that
it needs, where its query finds the answer, and where it corrects a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, react_turn, say, stream
from atlas.environments.sql.guarded import QueryError
from atlas.environments.sql.played import TABLES, PlayedQuestion
from atlas.records import CriticalKind

PLANS = (
    "I have to find out: {question} That takes more than one table. I will list the tables, look "
    "at those about {nouns}, and then put them together.",
    "My plan: find the tables of {nouns}, see how they refer to each other, then query both.",
    "The question needs {nouns}. First I list the tables, then I look at the columns of both.",
)
STARTS = (
    "The question is: {question} I need to see which tables there are.",
    "I do not know this database yet, so I list its tables.",
    "Where are the {nouns}? I list the tables.",
)
GUESSES = (
    "{Table} may be the table about the {many}, so I look at its columns.",
    "I think that the {many} are in {table}.",
    "The question is about {many}; I look at {table}.",
)
LOOKS_FIRST = (
    "I am not sure where the {many} are. I look at {table} first.",
    "None of the names says it clearly; I begin with {table}.",
)
NOTHING = (
    "{Table} does not have what I need.",
    "That is not the table that I am after.",
)
SAMPLES = (
    "I look at some rows of {table} before I query it.",
    "I want to see how the values of {table} are written.",
)
LISTS_AGAIN = ("I look at the list of tables again.", "Which tables were there? I list them.")
FOUND = (
    "Now I know the columns: {columns}.",
    "I have found what I need: {columns}.",
    "The columns that I need are {columns}.",
)
QUERIES = (
    "I can write the query now.",
    "This query should give the answer.",
    "With these columns I can ask for it.",
)
FIRST_OF_TWO = (
    "First I need the id, then the name.",
    "This takes two queries: the id comes first.",
)
SECOND_OF_TWO = (
    "The id is {value}; now I look up the name.",
    "It is number {value}. I still need the name.",
)
ANSWERS = (
    "The query gave {value}, which answers the question.",
    "So the answer is {value}.",
    "I found {value}; that is what was asked.",
)
SLIPS = (
    "I ask for it directly.",
    "This query is short and should do.",
    "I write down the query.",
)
NO_COLUMN = (
    "The table lacks a column {wrong}; it calls it {right}.",
    "I used a word of the question. The column is {right}, not {wrong}.",
)
FORGOT = (
    "That was about all rows. I forgot a part: {condition}.",
    "I have to add{condition}, or the result is about too much.",
)
# How often the expert looks at a wrong table first, if the question does not name the right one,
# and how often it looks at rows before it queries.
LOOK_FIRST = 0.4
SAMPLE = 0.4
# Turns that are kept; with fewer left, the expert makes no slip.
RESERVE_TURNS = 7
# A mistake is possible at one step of some, and makes up for the others.
STEPS_PER_CHANCE = 3


class SqlExpert:
    """Answers the question that was just asked. The same seed gives the same thoughts and slips."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, episode: PlayedQuestion, seed: int) -> None:
        self._config = config
        self._episode = episode
        self._question = episode.question
        self._rng = stream("sql expert", episode.task.id, seed)
        self._turns = self._play()

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        return next(self._turns)

    def _play(self) -> Iterator[ExpertTurn]:
        is_joint = len(self._question.tables) > 1
        kinds: tuple[CriticalKind, ...] = ("plan_creation",) if is_joint else ()
        nouns = " and ".join(map(self._many, self._question.tables))
        phrases = PLANS if is_joint else STARTS
        thought = self._say(phrases, question=self._question.text, nouns=nouns)
        yield react_turn(thought, TABLES, kinds, 0.8 if kinds else 0.0)
        yield from self._explore()
        found = self._say(FOUND, columns=self._needed_columns())
        if self._rng.random() < SAMPLE:
            table = self._question.tables[0]
            thought = f"{found} {self._say(SAMPLES, table=table)}"
            action = f"select * from {table} limit 3"
            yield react_turn(thought, action, ("critical_observation",), 0.7)
            found = ""
        yield from self._query(found)
        value = self._result()
        yield react_turn(self._say(ANSWERS, value=value), f"answer {value}")

    # ---- looking at tables ----

    def _explore(self) -> Iterator[ExpertTurn]:
        others = [name for name in self._episode.tables if name not in self._question.tables]
        for index, table in enumerate(self._question.tables):
            said = ""
            is_named = re.search(rf"\b{table}", self._question.text, re.IGNORECASE)
            if others and not is_named and index == 0 and self._rng.random() < LOOK_FIRST:
                yield self._look_at(others[0], LOOKS_FIRST, table)
                said = self._say(NOTHING, table=others[0])
            elif self._slips(self._config.detour_rate):
                yield react_turn(self._say(LISTS_AGAIN), TABLES)
            yield self._look_at(table, GUESSES, table, said)

    def _look_at(
        self, table: str, phrases: Sequence[str], wanted: str, said: str = ""
    ) -> ExpertTurn:
        thought = self._say(phrases, table=table, many=self._many(wanted))
        return react_turn(f"{said} {thought}".strip(), f"describe {table}")

    def _many(self, table: str) -> str:
        schema = self._episode.schema
        return schema.parent.many if table == schema.parent.name else schema.child.many

    def _needed_columns(self) -> str:
        """The columns in the queries, each with what the question calls it."""
        schema = self._episode.schema
        text = " ".join(self._question.queries)
        columns = [
            (table.name, column)
            for table in (schema.child, schema.parent)
            if table.name in self._question.tables
            for column in table.columns
            if re.search(rf"\b{column.name}\b", text)
        ]
        listed = [f"{table}.{column.name} is the {column.said}" for table, column in columns]
        return ", ".join(listed) or f"the rows of {self._question.tables[0]}"

    # ---- querying ----

    def _query(self, found: str) -> Iterator[ExpertTurn]:
        kinds: list[CriticalKind] = ["critical_observation"] if found else []
        is_two = len(self._question.queries) == 2
        query = self._question.queries[0]
        if (slip := self._mistake(query)) is not None:
            wrong_query, correction = slip
            yield react_turn(f"{found} {self._say(SLIPS)}".strip(), wrong_query, kinds, 0.7)
            kinds, found = ["self_correction"], correction
        sentence = self._say(FIRST_OF_TWO if is_two else QUERIES)
        thought = f"{found} {sentence}".strip()
        yield react_turn(thought, query, (*kinds, "critical_action"), 0.95)
        if is_two:
            value = self._result()
            thought = self._say(SECOND_OF_TWO, value=value)
            yield react_turn(thought, self._question.queries[1].format(value))

    def _mistake(self, query: str) -> tuple[str, str] | None:
        """A wrong query, and what is said to correct it."""
        if not self._slips(self._config.mistake_rate):
            return None
        condition = self._question.condition
        slips = [*self._wrong_columns(query)]
        if condition in query and condition:
            forgot = self._say(FORGOT, condition=condition)
            slips.append((query.replace(condition, "", 1), forgot))
        return self._rng.choice(slips) if slips else None

    def _wrong_columns(self, query: str) -> Iterator[tuple[str, str]]:
        """The query with a word of the question in place of a column that is called otherwise."""
        schema = self._episode.schema
        for column in (*schema.child.columns, *schema.parent.columns):
            wrong = re.sub(rf"\b{column.name}\b", column.said.replace(" ", "_"), query)
            if wrong == query:
                continue
            with suppress(QueryError):
                self._episode.database.query(wrong)
                # The word is a column, too.
                continue
            said = self._say(NO_COLUMN, wrong=column.said.replace(" ", "_"), right=column.name)
            yield wrong, said

    def _result(self) -> str:
        """The value that the last query showed."""
        return self._episode.seen.splitlines()[-1]

    def _slips(self, rate: float) -> bool:
        is_slip = self._rng.random() < 1 - (1 - rate) ** STEPS_PER_CHANCE
        return is_slip and self._episode.turns_left >= RESERVE_TURNS

    def _say(self, phrases: Sequence[str], **words: str) -> str:
        return say(self._rng, phrases, **words)
