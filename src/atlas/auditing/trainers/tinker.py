"""tinker-cookbook 0.6.1 with `TrainOnWhat.CUSTOMIZED`: a turn whose `trainable` is true.

From `renderers/base.py`: `build_supervised_example` asserts that each message has the field, gives
headers no weight, and weighs the output part of a turn, which ends with its end of turn.
"""

from __future__ import annotations

from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.trainers.flagged_turns import FlaggedTurns


class TinkerTrainer(FlaggedTurns):
    """Messages whose `trainable` is true, of any role."""

    version = "tinker-cookbook 0.6.1"
    flag = "trainable"
    columns = ("messages", "input_ids")
    spellings = ("role",)
    reads_system = False
    default = False

    def flags(self, row: TrainingRow) -> list[bool]:
        given = row.flags.get("trainable", (None,) * len(row.messages))
        lacking = [index for index, value in enumerate(given) if value is None]
        if lacking:
            raise RefusedRowError(f"message {lacking[0]} has no field trainable")
        return [bool(value) for value in given]
