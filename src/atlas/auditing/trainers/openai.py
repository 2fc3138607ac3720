"""OpenAI's fine-tuning service, as its documentation describes it. Not run: it takes uploads only.

`weight` 0 or 1 on assistant messages, 1 where it is absent; other messages carry no loss.
"""

from __future__ import annotations

from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.trainers.flagged_turns import FlaggedTurns

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


class OpenAITrainer(FlaggedTurns):
    """Assistant turns whose `weight` is not 0."""

    version = "OpenAI fine-tuning, its documentation of 2026"
    flag = "weight"
    columns = ("messages",)
    spellings = ("role",)
    reads_system = False

    def flags(self, row: TrainingRow) -> list[bool]:
        for index, role in enumerate(row.given_roles):
            if role not in _ROLES:
                raise RefusedRowError(f"message {index} has the role {role!r:.40}")
        for index, weight in enumerate(row.flags.get("weight", ())):
            if weight is not None and weight not in (0, 1):
                raise RefusedRowError(f"message {index} has the weight {weight!r:.40}, not 0 or 1")
        return super().flags(row)
