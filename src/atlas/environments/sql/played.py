"""A question that is being answered: the actions, and what the agent sees of the database."""

from __future__ import annotations

import re
from collections.abc import Iterable

from atlas.environments.react import MAX_QUOTED, NO_ACTION, action_lines
from atlas.environments.sql.guarded import QueryError
from atlas.environments.sql.tasks import make_task
from atlas.records import Task

TABLES = "tables"
_SQL = re.compile(r"(select|with)\b", re.IGNORECASE)
# `1,234` or `1,234.5`.
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_AROUND = "'\"`* "
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
        if _SQL.match(action):
            return self.database.query(action)
        word, *others = action.split(maxsplit=1)
        rest = "".join(others)
        match word.lower().rstrip(".;:"):
            case "tables" if not rest:
                return f"Tables: {', '.join(self.tables)}"
            case "describe" if rest:
                return self._describe(rest.strip(".;'\"`[] ").lower())
            case "answer" if rest:
                self.is_answered = True
                self.is_right = is_same_answer(rest, self.question.answer)
                return "That is right." if self.is_right else "That is wrong."
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
    # Without fences of code and lines that are comments.
    lines = _first_block(
        line for line in action_lines(response) if not line.startswith(("```", "--"))
    )
    if not lines:
        return None
    # A comment ends with its line, so the lines stay lines.
    return "\n".join(lines) if _SQL.match(lines[0]) else lines[0]


def _first_block(lines: Iterable[str]) -> list[str]:
    block: list[str] = []
    for line in lines:
        if block and not line:
            break
        if block or re.search(r"\w", line):
            block.append(line)
    return block


def is_same_answer(said: str, answer: str) -> bool:
    """Whether an answer is right, whatever its quotes, capitals and form of numbers."""
    return _plain(said) == _plain(answer)


def _plain(answer: str) -> str:
    """An answer without quotes, emphasis, full stop and capitals; numbers in one form."""
    text = answer.strip(_AROUND).rstrip(".").strip(_AROUND).lower()
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    try:
        # Python also reads `1_234`.
        return text if "_" in text else f"{float(text):.10g}"
    except ValueError:
        return text
