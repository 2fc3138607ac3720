"""Questions about a database, answered by SQL that only reads.

The agent lists tables, describes them, writes queries and answers. Every response counts as one
turn; after `max_steps` turns the episode is truncated. An answer ends it. Score and success: 1 if
the answer is right, else 0; numbers are compared as numbers, names without capitals and quotes.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.react import ANSWER_FORMAT, user
from atlas.environments.sql.config import SqlConfig
from atlas.environments.sql.expert import SqlExpert
from atlas.environments.sql.played import PlayedQuestion
from atlas.environments.sql.tasks import sql_tasks
from atlas.errors import EpisodeError
from atlas.records import Message, Task

INSTRUCTION = f"""\
You answer a question about a SQLite database that you do not know yet. Each turn you do one action:
- tables: list the tables
- describe <table>: list the columns of a table
- select …: run a query; you see at most ten rows, and nothing can be changed
- answer <value>: give the answer, a number or a word; this ends the task
{ANSWER_FORMAT}"""


class SqlEnvironment:
    """Questions about databases in SQLite, answered by queries that only read."""

    Config = SqlConfig
    in_process = True
    name = "sql"

    def __init__(self, config: SqlConfig) -> None:
        self._config = config
        self.prompt = load_instruction(config.instruction, INSTRUCTION, "sql/")
        self._episode: PlayedQuestion | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, one kind of question after the other."""
        return sql_tasks(split, num_tasks, seed)

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Build the database of `task`, and return the question."""
        self.close()
        self._episode = PlayedQuestion(task, self._config.max_steps)
        return user(self._episode.seen)

    @property
    def episode(self) -> PlayedQuestion:
        """The question that is being answered."""
        if self._episode is None:
            raise EpisodeError("sql: no episode has started. Call reset first.")
        return self._episode

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        episode = self.episode
        if episode.is_over:
            raise EpisodeError("sql: the episode is over. Call reset before the next step.")
        action, is_invalid = episode.act(response.content)
        return StepResult(
            observation=user(episode.seen),
            reward=float(episode.is_right),
            terminated=episode.is_answered,
            truncated=not episode.is_answered and episode.turns_left <= 0,
            success=episode.is_right,
            score=float(episode.is_right),
            action=action,
            is_invalid=is_invalid,
        )

    def expert(self, seed: int) -> Expert:
        """A player for the question that was just asked; it explores before it queries."""
        return SqlExpert(self._config.expert, self.episode, seed)

    def close(self) -> None:
        """Close the database."""
        if self._episode is not None:
            self._episode.database.close()
            self._episode = None
