"""A question that is being answered: the actions, and what the agent sees of the database."""

from __future__ import annotations

import re
from collections.abc import Iterable

from atlas.environments.react import MAX_QUOTED, NO_ACTION, action_lines
from atlas.environments.sql.guarded import QueryError
from atlas.environments.sql.tasks import make_task
from atlas.records import Task

TABLES = "tables"
ACTIONS = "tables, describe TABLE, select …, answer VALUE"


class PlayedQuestion:
    """One question. `seen` is the last observation."""

    def __init__(self, task: Task, max_steps: int) -> None:
        made = make_task(task.group, task.seed)
        self.task = task
        self.schema, self.database, self.question = made.schema, made.database, made.question
        # In the order in which the database lists them.
        self.tables = self.database.tables
        self.turns_left = max_steps
        self.is_answered = self.is_right = False
        self.seen = f"Database: {self.schema.name}.\nQuestion: {self.question.text}"

    @property
    def is_over(self) -> bool:
        """Whether an answer was given, or no turn is left."""
        return self.is_answered or self.turns_left <= 0

    def act(self, response: str) -> tuple[str | None, bool]:
        """Do one turn; the action in the response, and whether it could not be carried out."""
        self.turns_left -= 1
        action = find_action(response)
        if action is None:
            self.seen = NO_ACTION
            return None, True
        try:
            self.seen = self._carry_out(action)
        except QueryError as error:
            self.seen = f"Error: {error}"
            return action, True
        return action, False

    def _carry_out(self, action: str) -> str:
        word, _, rest = action.partition(" ")
        rest = rest.strip()
        match word.lower().rstrip(".;:"):
            case "tables" if not rest:
                return f"Tables: {', '.join(self.tables)}"
            case "describe" if rest:
                return self._describe(rest.rstrip(".;").lower())
            case "answer" if rest:
                self.is_answered = True
                self.is_right = _plain(rest) == _plain(self.question.answer)
                return "That is right." if self.is_right else "That is wrong."
            case "select" | "with":
                return self.database.query(action)
        quoted = f"'{action[:MAX_QUOTED]}' is not an action here"
        raise QueryError(f"{quoted}. The actions are: {ACTIONS}")

    def _describe(self, table: str) -> str:
        if table not in self.tables:
            missing = f"the database has no table '{table[:MAX_QUOTED]}'"
            raise QueryError(f"{missing}. The tables are: {', '.join(self.tables)}")
        columns = self.database.columns_of(table)
        return f"{table}: {', '.join(f'{name} ({kind})' for name, kind in columns.items())}"


def find_action(response: str) -> str | None:
    """The action in a ReAct response; SQL may have several lines, up to an empty one."""
    lines = _first_block(line for line in action_lines(response) if not line.startswith("```"))
    if not lines:
        return None
    is_sql = re.match(r"(select|with)\b", lines[0], re.IGNORECASE)
    return " ".join(lines) if is_sql else lines[0]


def _first_block(lines: Iterable[str]) -> list[str]:
    block: list[str] = []
    for line in lines:
        if block and not line:
            break
        if block or re.search(r"\w", line):
            block.append(line)
    return block


def _plain(answer: str) -> str:
    """An answer without quotes, full stop and capitals; numbers in one form."""
    text = answer.strip().strip("'\"`").rstrip(".").strip("'\"`").lower()
    try:
        return f"{float(text):.10g}"
    except ValueError:
        return text
