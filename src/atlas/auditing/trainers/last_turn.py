"""Trainers that train the last turn of a row only."""

from __future__ import annotations

from atlas.auditing.rows import RefusedRowError, TrainingRow, plain_role
from atlas.auditing.trainers.flagged_turns import FlaggedTurns


class LastTurnTrainer(FlaggedTurns):
    """The last message of a row, which is a response; of prompt and completion, the completion."""

    version = "any trainer of the last turn only"

    def flags(self, row: TrainingRow) -> list[bool]:
        if plain_role(row.messages[-1]["role"]) != "assistant":
            raise RefusedRowError("the row does not end in an assistant turn")
        first = len(row.messages) - 1 if row.num_prompt is None else row.num_prompt
        return [index >= first for index in range(len(row.messages))]
